"""What fails in a worker process is raised in the consumer as from a thread, and nothing else comes along."""

from __future__ import annotations

import io
import pickle
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from PIL import Image

import aioloader as al
from aioloader import errors
from tests.loader.conftest import worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loader.conftest import Bucket

pytestmark = pytest.mark.usefixtures("warm_processes")

N = 20
BAD = 10
"""The sample that fails."""


def numbered() -> al.Dataset:
    store = al.MemoryStore({f"{i:03}": str(i).encode() for i in range(N)})
    return al.from_samples([(f"{i:03}", i) for i in range(N)], store=store)


def one_missing() -> al.Dataset:
    store = al.MemoryStore({f"{i:03}": str(i).encode() for i in range(N) if i != BAD})
    return al.from_samples([f"{i:03}" for i in range(N)], store=store)


def one_too_short() -> al.Dataset:
    store = al.MemoryStore({"shard": bytes(4 * N - 2)})
    samples = [al.SampleRef(index=0, key="shard", byte_range=(4 * i, 4 * i + 4)) for i in range(N)]
    return al.from_samples(samples, store=store)


def images() -> al.Dataset:
    def png(side: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(file, "PNG")
        return file.getvalue()

    store = al.MemoryStore({f"{i:03}.png": png(64 if i == BAD else 8) for i in range(N)})
    return al.from_samples([f"{i:03}.png" for i in range(N)], store=store)


def plain(data: bytes) -> np.ndarray:
    return np.array([float(data)])


def fragile(data: bytes, sample: al.SampleRef) -> np.ndarray:
    if sample.index == BAD:
        raise KeyError(f"no such thing in {sample.key}")
    return plain(data)


async def fragile_coroutine(data: bytes, sample: al.SampleRef) -> np.ndarray:
    return fragile(data, sample)


def leaving(data: bytes, sample: al.SampleRef) -> np.ndarray:
    if sample.index == BAD:
        raise SystemExit(3)
    return plain(data)


def own_error(data: bytes, sample: al.SampleRef) -> np.ndarray:
    if sample.index == BAD:
        raise errors.DecodeError("it is upside down", sample.key, "Turn it.", attempts=3)
    return plain(data)


class OddError(errors.DecodeError):
    """A user's subclass: its nearest class of ours arrives."""


def with_odd_error(data: bytes, sample: al.SampleRef) -> np.ndarray:
    if sample.index == BAD:
        raise OddError("odd", sample.key)
    return plain(data)


def other_shape(data: bytes, sample: al.SampleRef) -> np.ndarray:
    return np.zeros(5 if sample.index == BAD else 4)


def other_dtype(data: bytes, sample: al.SampleRef) -> np.ndarray:
    return np.zeros(4, np.float32 if sample.index == BAD else np.float64)


def text(data: bytes, sample: al.SampleRef) -> Any:
    return "a text" if sample.index == BAD else plain(data)


def object_at_first(data: bytes) -> Any:
    return object()


def option_error(data: bytes, sample: al.SampleRef) -> np.ndarray:
    if sample.index == BAD:
        raise errors.OptionError("size", "3", "4")
    return plain(data)


def broken_transform(decoded: Any, rng: np.random.Generator) -> Any:
    if decoded[0] == BAD:
        raise ZeroDivisionError("by zero")
    return decoded


@dataclass(frozen=True)
class Case:
    """What fails, and the class that both kinds of workers must raise."""

    id: str
    kind: type[errors.SampleError]
    data: Callable[[], al.Dataset]
    decode: Any
    options: dict[str, Any] = field(default_factory=dict)
    is_ours: bool = False
    """Whether the decoder or store raised an error of ours itself, which has no cause."""


CASES = [
    Case("decoder", errors.DecodeError, numbered, fragile),
    Case("coroutine", errors.DecodeError, numbered, fragile_coroutine),
    Case("SystemExit", errors.DecodeError, numbered, leaving),
    Case("our class", errors.DecodeError, numbered, own_error, is_ours=True),
    Case("OptionError of one sample", errors.DecodeError, numbered, option_error),
    Case("transform", errors.TransformError, numbered, plain, {"transform": broken_transform}),
    Case("missing", errors.ObjectNotFoundError, one_missing, plain, is_ours=True),
    Case("range", errors.TruncatedBodyError, one_too_short, al.RawDecoder(), is_ours=True),
    Case("shape", errors.ShapeMismatchError, numbered, other_shape, is_ours=True),
    Case("dtype", errors.ShapeMismatchError, numbered, other_dtype, is_ours=True),
    Case("text", errors.DecodeError, numbered, text, is_ours=True),
    Case("object", errors.DecodeError, numbered, object_at_first, is_ours=True),
    Case("bomb", errors.UnsafeImageError, images, al.ImageDecoder(size=(8, 8), max_pixels=1000), is_ours=True),
    Case("declared", errors.DecodeError, numbered, al.RawDecoder("uint8", (1,)), is_ours=True),
]


def caught(case: Case, *, in_processes: bool) -> tuple[int, errors.SampleError]:
    """How many batches came before the error, and the error."""
    options: dict[str, Any] = {"batch_size": 4, "workers": 2, "use_multiprocessing": in_processes} | case.options
    came = 0
    with al.Loader(case.data(), decode=case.decode, **options) as loader:
        batches = iter(loader)
        try:
            for _ in batches:
                came += 1
        except errors.SampleError as error:
            assert next(batches, None) is None
            return came, error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_error_is_the_same_sentence_of_the_same_class_at_the_same_batch_as_in_threads(case: Case) -> None:
    expected_at, expected = caught(case, in_processes=False)
    came_at, found = caught(case, in_processes=True)
    assert (came_at, type(found), str(found)) == (expected_at, type(expected), str(expected))
    assert type(found) is case.kind
    assert vars(found) == vars(expected)
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    assert (expected.__cause__ is None) == case.is_ours
    if not case.is_ours:
        cause = found.__cause__
        assert isinstance(cause, errors.RemoteError)
        assert "Traceback (most recent call last)" in str(cause)
        assert type(expected.__cause__).__name__ in str(cause)
        assert Path(__file__).name in str(cause), "the user's own line is not shown"
        assert str(cause) in "".join(traceback.format_exception(found))


def test_a_subclass_of_the_users_arrives_as_the_class_of_ours_it_is() -> None:
    _, found = caught(Case("", errors.DecodeError, numbered, with_odd_error), in_processes=True)
    assert type(found) is errors.DecodeError
    assert "odd" in str(found)


class PickyError(errors.DecodeError):
    """A user's class with a constructor of its own."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is bad")


@pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])
def test_a_subclass_with_a_constructor_of_its_own_is_still_that_samples_failure(*, in_processes: bool) -> None:
    def decode(data: bytes) -> np.ndarray:
        raise PickyError(7)

    _, found = caught(Case("", errors.DecodeError, numbered, decode), in_processes=in_processes)
    assert "row 7 is bad" in str(found)


def test_a_missing_file_over_http_is_named_as_in_threads(bucket: Bucket) -> None:
    def data() -> al.Dataset:
        return al.from_samples(["ants/nowhere.png"], root=bucket.url)

    case = Case("", errors.ObjectNotFoundError, data, al.RawDecoder(), is_ours=True)
    (_, expected), (_, found) = caught(case, in_processes=False), caught(case, in_processes=True)
    assert str(found) == str(expected)
    assert "404" in str(found)


def test_notes_on_an_error_come_along() -> None:
    def decode(data: bytes) -> np.ndarray:
        error = errors.DecodeError("no", "key")
        error.add_note("look at the moon")
        raise error

    _, found = caught(Case("", errors.DecodeError, numbered, decode), in_processes=True)
    assert "look at the moon" in "".join(traceback.format_exception(found))


def test_a_store_that_cannot_work_at_all_ends_the_stream_with_its_own_error() -> None:
    class Misconfigured(al.MemoryStore):
        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            raise errors.OptionError("profile", "'nobody'", "a profile of the credentials file")

    data = al.from_samples(["a.bin", "b.bin"], store=Misconfigured())
    with (
        al.Loader(data, decode=plain, on_error="skip", use_multiprocessing=True, workers=2) as loader,
        pytest.raises(errors.OptionError, match="profile='nobody'") as found,
    ):
        next(iter(loader))
    assert isinstance(found.value.__cause__, errors.RemoteError)


# -- nothing a worker made is unpickled --------------------------------------------------------------------


class Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import pathlib; pathlib.Path({self.path!r}).write_text('sprung')",)


class TrapError(Exception):
    def __init__(self, path: str) -> None:
        super().__init__("a trap")
        self.trap = Trap(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.trap.__reduce__()


class TrapDecodeError(errors.DecodeError):
    """Its key is the file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Trap(self.key).__reduce__()


def test_the_trap_closes_where_it_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "sprung"
    for trap in (Trap(str(path)), TrapError(str(path)), TrapDecodeError("a trap", str(path))):
        pickle.loads(pickle.dumps(trap))
        path.unlink()  # it is there, so the next test can fail


@pytest.mark.parametrize("way", ["return", "in a dict", "as an object array", "raise", "raise ours", "transform"])
def test_nothing_that_user_code_makes_in_a_worker_is_unpickled_here(tmp_path: Path, way: str) -> None:
    path = str(tmp_path / "sprung")

    def decode(data: bytes, sample: al.SampleRef) -> Any:
        if sample.index != BAD:
            return {"x": np.zeros(1)} if way == "in a dict" else np.zeros(1)
        if way == "raise":
            raise TrapError(path)
        if way == "raise ours":
            raise TrapDecodeError("a trap", path)
        if way == "in a dict":
            return {"x": Trap(path)}
        if way == "as an object array":
            return np.array([Trap(path)], dtype=object)
        return Trap(path) if way == "return" else np.ones(1)

    def transform(decoded: Any, rng: np.random.Generator) -> Any:
        return Trap(path) if way == "transform" and decoded[0] == 1 else decoded

    options: dict[str, Any] = {"transform": transform} if way == "transform" else {}
    _, found = caught(Case("", errors.DecodeError, numbered, decode, options), in_processes=True)
    assert found.sample_id == BAD
    assert not Path(path).exists()


# -- secrets -----------------------------------------------------------------------------------------------

SECRET = "hunter2-S3CR3T"


def test_no_secret_stands_in_the_arguments_environment_or_name_of_a_worker(bucket: Bucket) -> None:
    store = al.HTTPStore(headers={"Authorization": f"Bearer {SECRET}"})
    data = al.from_samples([s.key for s in al.image_folder(bucket.url)], root=bucket.url, store=store)
    secret_in_code = SECRET.encode()

    def decode(body: bytes) -> np.ndarray:
        return np.frombuffer(body[:4] + secret_in_code, np.uint8)

    with al.Loader(data, decode=decode, batch_size=8, use_multiprocessing=True, workers=2) as loader:
        rows = np.concatenate([rows for (rows,) in loader])
        assert bytes(rows[0, 4:]).decode() == SECRET  # it was there
        for pid in worker_pids():
            for name in ("cmdline", "environ", "comm"):
                assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes(), name
            assert SECRET not in str(psutil.Process(pid).as_dict(["cmdline", "environ", "name", "open_files"]))
