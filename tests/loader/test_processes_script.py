"""Where a decoder in processes may come from: a script without a main guard, stdin, a hidden module; and where not."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader import errors

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
    import os, sys
    from pathlib import Path
    import numpy as np
    import aioloader as al

    print("the body runs", flush=True)
    with Path("marker").open("a") as marker:
        marker.write(f"{os.getpid()}\\n")
    CONSTANT = 100

    def numbered():
        return al.from_samples([(f"{i:03}", i) for i in range(40)], root=os.path.join(os.getcwd(), "data"))

    def rows(decode, data=None):
        with al.Loader(data or numbered(), decode=decode, batch_size=8, use_multiprocessing=True, workers=2) as loader:
            return [row.tolist() for batch in loader for row in batch[0]]
"""


@dataclass(frozen=True)
class Case:
    """A script's decoder, the lines before it, and what each row must be."""

    id: str
    decode: str
    rows: list[list[int]]
    before: str = ""


PLAIN = [[i] for i in range(40)]
SHIFTED = [[i + 100] for i in range(40)]

CASES = [
    Case("lambda", "lambda body: np.array([int(body) + CONSTANT])", SHIFTED),
    Case(
        "function",
        "decode",
        SHIFTED,
        """
    def shift(number):
        return number + CONSTANT

    def decode(body):
        return np.array([shift(int(body))])
    """,
    ),
    Case(
        "class",
        "Decoder(CONSTANT)",
        SHIFTED,
        """
    class Base:
        def spec(self):
            return al.FieldSpec((1,), np.dtype("int64"))

    class Decoder(Base):
        needs_rng = False
        def __init__(self, shift):
            self.shift = shift
        def decode(self, body, sample, rng=None, out=None):
            return np.array([int(body) + self.shift])
    """,
    ),
    Case(
        "module that only sys.path makes importable",
        "hidden_module.decode",
        PLAIN,
        """
    sys.path.insert(0, os.path.join(os.getcwd(), "hidden"))
    import hidden_module
    """,
    ),
    Case(
        "module beside the script, by a relative path",
        "hidden_module.decode",
        PLAIN,
        """
    sys.path.insert(0, "hidden")
    import hidden_module
    """,
    ),
    Case(
        "relative path opened in the decoder",
        "decode",
        [[i + 7] for i in range(40)],
        """
    def decode(body):
        return np.array([int(body) + int(Path("shift.txt").read_text())])
    """,
    ),
]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A working directory with 40 numbered files, a module out of the way, and a number in a file."""
    (tmp_path / "data").mkdir()
    for index in range(40):
        (tmp_path / "data" / f"{index:03}").write_text(str(index))
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "hidden_module.py").write_text(
        "import numpy as np\n\n\ndef decode(body):\n    return np.array([int(body)])\n"
    )
    (tmp_path / "shift.txt").write_text("7")
    return tmp_path


RUNS = [*itertools.product(CASES, ["file"]), *itertools.product([CASES[0], CASES[2]], ["stdin", "-c"])]


@pytest.mark.parametrize(("case", "way"), RUNS, ids=lambda part: part.id if isinstance(part, Case) else part)
def test_a_script_without_a_main_guard_runs_once_and_its_decoders_work(workplace: Path, case: Case, way: str) -> None:
    script = textwrap.dedent(HEAD) + textwrap.dedent(case.before) + f"print(rows({case.decode}))\n"
    arguments = {"file": ["script.py"], "stdin": ["-"], "-c": ["-c", script]}[way]
    (workplace / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, *arguments],
        input=script if way == "stdin" else "",
        capture_output=True,
        text=True,
        cwd=workplace,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["the body runs", str(case.rows)]
    assert len((workplace / "marker").read_text().split()) == 1, "the script's body ran in a worker too"


def test_a_decoder_that_reads_argv_and_prints_does_so_in_the_worker(workplace: Path) -> None:
    script = textwrap.dedent(HEAD) + textwrap.dedent("""
    def decode(body):
        print(f"decoded {sys.argv[1]}\\n", end="", flush=True)  # one write: two processes print at once
        return np.array([int(body)])

    rows(decode)
    """)
    (workplace / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py", "an-argument"], capture_output=True, text=True, cwd=workplace, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.count("decoded an-argument") == 40, done.stderr


# -- what cannot go there --------------------------------------------------------------------------------


def numbered(store: al.MemoryStore | None = None) -> al.Dataset:
    return al.from_samples(["a", "b"], store=store or al.MemoryStore({"a": b"1", "b": b"2"}))


def plain(data: bytes) -> np.ndarray:
    return np.array([int(data)])


class Locked(al.MemoryStore):
    """A store that holds what no other process can have."""

    def __init__(self) -> None:
        super().__init__({"a": b"1", "b": b"2"})
        self.lock = threading.Lock()


def unpicklable(option: str) -> dict[str, Any]:
    lock = threading.Lock()
    options: dict[str, dict[str, Any]] = {
        "decode": {"decode": lambda data: (lock, plain(data))[1]},
        "transform": {"decode": plain, "transform": lambda decoded, rng: (lock, decoded)[1]},
        "data": {"decode": plain, "data": numbered(Locked())},
    }
    return options[option]


@pytest.mark.parametrize("option", ["decode", "transform", "data"])
def test_what_cannot_be_sent_is_named_with_the_next_step(option: str) -> None:
    options = unpicklable(option)
    data = options.pop("data", None) or numbered()
    with pytest.raises(errors.OptionError, match="use_multiprocessing=False") as caught:
        al.Loader(data, use_multiprocessing=True, workers=1, **options)
    assert caught.value.option == option
    assert "lock" in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)


def test_what_cannot_be_imported_in_the_worker_says_so_with_its_traceback() -> None:
    module = types.ModuleType("made_up_here")
    exec("import numpy as np\ndef decode(data):\n    return np.array([int(data)])\n", module.__dict__)
    sys.modules["made_up_here"] = module
    try:
        with al.Loader(numbered(), decode=vars(module)["decode"], use_multiprocessing=True, workers=2) as loader:
            with pytest.raises(errors.OptionError, match=r"made_up_here.*use_multiprocessing=False") as caught:
                next(iter(loader))
            assert caught.value.option == "decode"
            assert isinstance(caught.value.__cause__, errors.RemoteError)
            assert "ModuleNotFoundError: No module named 'made_up_here'" in str(caught.value.__cause__)
            assert "Traceback" in str(caught.value.__cause__)
    finally:
        del sys.modules["made_up_here"]


def test_without_a_known_interpreter_the_error_names_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with (
        al.Loader(numbered(), decode=plain, use_multiprocessing=True, workers=2) as loader,
        pytest.raises(errors.WorkersFailedError, match=r"sys\.executable.*threads"),
    ):
        next(iter(loader))


def test_an_interpreter_that_cannot_be_run_is_an_error_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with al.Loader(numbered(), decode=plain, use_multiprocessing=True, workers=2) as loader:
        with pytest.raises(errors.WorkersFailedError, match=r"no worker process.*nowhere"):
            next(iter(loader))
        loader.close()
        monkeypatch.undo()
        assert [row[0] for (rows,) in loader for row in rows] == [1, 2]  # and works once it can be run
