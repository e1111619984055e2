"""A virtual environment for each competitor, made from its pinned requirements and kept until these change."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
PEERS = BENCHMARKS / "peers"
ROOT = BENCHMARKS.parent
SHOWN = (
    "aioloader", "aiohttp", "uvloop", "numpy", "pillow", "simplejpeg", "opencv-python-headless", "spdl", "torch",
    "grain", "keras", "tensorflow",
)  # fmt: skip


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of ``peer``'s environment below ``folder``; made if it is missing or out of date.

    Raises `subprocess.CalledProcessError` where the installation fails.
    """
    place = folder / peer
    python, stamp = place / "bin" / "python", place / "requirements.sha256"
    wanted = _fingerprint(peer)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the environment of {peer} in {place} ...", file=sys.stderr)
    if place.exists():
        shutil.rmtree(place)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", str(PEERS / peer / "requirements.txt")], check=True)
    if peer == "aioloader":
        # Editable: what is raced is the checkout. Its requirements are pinned above and met already.
        subprocess.run([*install, "--editable", str(ROOT)], check=True)
    stamp.write_text(wanted)
    return python


def _fingerprint(peer: str) -> str:
    files = [PEERS / peer / "requirements.txt", PEERS / "common.txt", PEERS / "keras.txt"]
    if peer == "aioloader":
        files.append(ROOT / "pyproject.toml")
    texts = [file.read_text() for file in files]
    return hashlib.sha256(json.dumps([sys.version, *texts]).encode()).hexdigest()


def versions(python: Path) -> dict[str, str]:
    """What of `SHOWN` is installed there."""
    code = (
        "import json, sys; from importlib import metadata as m; r = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: r[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(r))"
    )
    done = subprocess.run([str(python), "-c", code, *SHOWN], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
