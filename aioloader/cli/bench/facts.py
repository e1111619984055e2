"""What the figures were taken on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aioloader import __version__
from aioloader.runtime.machine import usable_cores

_PACKAGES = ("keras", "tensorflow", "torch", "pillow", "numpy")


def machine() -> dict[str, str]:
    """Names and values, for a person and for JSON."""
    return {
        "cores": f"{usable_cores()} of {_processor()}",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join([f"aioloader {__version__}", *_versions()]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "an unnamed processor"


def _versions() -> list[str]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
