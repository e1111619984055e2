"""``use_multiprocessing=True``: to the byte what threads make, from every store, and the memory it comes in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import ASKED_ONCE, N_IMAGES, Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.s3_services import Service

pytestmark = pytest.mark.usefixtures("warm_processes")

N = 60
IMAGES = al.ImageDecoder(size=(8, 8))

Digest = list[tuple[Any, ...]]


def numbered(n: int = N) -> al.Dataset:
    """``n`` objects that hold their number; the label is the number modulo 5, a column its half."""
    store = al.MemoryStore({f"{i:03}": str(i).rjust(3 + i % 7).encode() for i in range(n)})
    samples = [al.SampleRef(index=0, key=f"{i:03}", label=i % 5, columns={"half": i / 2}) for i in range(n)]
    return al.from_samples(samples, store=store)


def leaves(tree: Any, path: str = "") -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Path, dtype, shape and bytes of every array of a batch."""
    if isinstance(tree, dict):
        return [leaf for name, branch in tree.items() for leaf in leaves(branch, f"{path}.{name}")]
    if isinstance(tree, tuple):
        return [leaf for place, branch in enumerate(tree) for leaf in leaves(branch, f"{path}[{place}]")]
    return [(path, str(tree.dtype), tree.shape, tree.tobytes())]


def digest(batches: Iterable[al.Batch]) -> Digest:
    """What the batches are, to the byte."""
    return [
        (batch.epoch, batch.step, batch.sample_ids.tolist(), batch.valid.tolist(), leaves(tuple(batch)))
        for batch in batches
    ]


def read(data: al.Dataset, epochs: int = 1, **options: Any) -> Digest:
    """Everything that ``epochs`` epochs deliver, shuffled."""
    with al.Loader(data, **{"batch_size": 7, "shuffle": True, "seed": 3, "drop_last": False} | options) as loader:
        return digest(loader.epochs(epochs))


def read_in_processes(data: al.Dataset, epochs: int = 1, **options: Any) -> Digest:
    return read(data, epochs, **{"use_multiprocessing": True, "workers": 2} | options)


# -- the same bytes --------------------------------------------------------------------------------------


def of_bytes(data: bytes) -> np.ndarray:
    return np.full((2, 3), int(data), np.float32)


def with_rng(data: bytes, sample: al.SampleRef, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(int(data), 1.0, 4)


def in_tuple(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, float, float]:
    return np.arange(int(data), int(data) + 3), sample.index / 2, 0.5


def in_dict(data: bytes, sample: al.SampleRef) -> Any:
    nested = {"number": np.int16(int(data)), 3: (np.zeros(2, np.bool_), np.full(1, sample.columns["half"]))}
    return {"text": np.frombuffer(sample.key.encode(), np.uint8), "nested": nested}, sample.label


async def coroutine(data: bytes, sample: al.SampleRef, rng: np.random.Generator) -> np.ndarray:
    import asyncio

    await asyncio.sleep(0.001 * (int(data) % 3))
    return rng.integers(0, 100, 5) + int(data)


def in_bfloat16(data: bytes) -> np.ndarray:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.full(5, int(data) / 7, ml_dtypes.bfloat16)


def big_endian(data: bytes) -> np.ndarray:
    return np.full(3, int(data), ">i4")


class Declared:
    """Says what it makes, and writes it into the batch itself."""

    needs_rng = True
    writes_out = True

    def spec(self) -> al.FieldSpec:
        return al.FieldSpec((6,), np.dtype("float64"))

    def decode(
        self, data: bytes, sample: al.SampleRef, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        made = rng.random(6) + int(data)
        if out is None:
            return made
        out[...] = made
        return out


def text_and_numbers(data: bytes, sample: al.SampleRef) -> Any:
    return {"text": "ü" * (int(data) % 6), "numbers": np.arange(int(data) % 4, dtype=np.int32)}


VARIABLE = {"text": al.FieldSpec.text(10), "numbers": al.FieldSpec((al.UpTo(5),), np.dtype("int32"), fill=-1)}


def shifted(decoded: Any, rng: np.random.Generator) -> Any:
    return decoded + rng.integers(0, 1000)


@dataclass(frozen=True)
class Case:
    """One kind of decoder."""

    id: str
    decode: Any
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("function", of_bytes),
    Case("lambda", lambda data: np.frombuffer(data[-1:], np.uint8)),
    Case("rng", with_rng),
    Case("transform", of_bytes, {"transform": shifted}),
    Case("transform of rng", with_rng, {"transform": shifted}),
    Case("tuple", in_tuple),
    Case("dict", in_dict),
    Case("scalar", lambda data: float(data)),
    Case("coroutine", coroutine),
    Case("coroutine and transform", coroutine, {"transform": shifted}),
    Case("bfloat16", in_bfloat16),
    Case("big endian", big_endian),
    Case("declared", Declared()),
    Case("text and other shapes", text_and_numbers, {"spec": VARIABLE}),
    Case("weights", of_bytes, {"sample_weight": "half", "class_weight": {1: 3.0}}),
    Case("one worker", of_bytes, {"workers": 1}),
    Case("padded rank", of_bytes, {"rank": 1, "world_size": 4}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_batches_of_processes_are_those_of_threads_to_the_byte(case: Case) -> None:
    data = numbered()
    expected = read(data, 2, decode=case.decode, **case.options)
    assert len(expected) == 2 * len({step for _, step, *_ in expected})
    assert read_in_processes(data, 2, decode=case.decode, **case.options) == expected


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_worker_count_or_concurrency_changes_a_byte(workers: int) -> None:
    data = numbered()
    expected = read(data, 2, decode=with_rng, transform=shifted)
    for concurrency in (1, 8, 64):
        options: dict[str, Any] = {"workers": workers, "concurrency": concurrency}
        assert read_in_processes(data, 2, decode=with_rng, transform=shifted, **options) == expected, concurrency


@pytest.mark.parametrize("batch_size", [1, 60, 128])
def test_fewer_requests_than_processes_still_fill_a_batch(batch_size: int) -> None:
    data = numbered(300)
    expected = read(data, decode=of_bytes, batch_size=batch_size)
    options: dict[str, Any] = {"workers": 3, "concurrency": 1, "batch_size": batch_size, "stall_timeout_s": 20}
    assert read_in_processes(data, decode=of_bytes, **options) == expected


def broken_at_random(data: bytes, sample: al.SampleRef, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.2:
        raise ValueError(f"drawn from sample {sample.index}")
    return rng.random(3)


def test_processes_skip_the_same_samples_with_the_same_stand_ins_as_threads() -> None:
    data = numbered()
    options: dict[str, Any] = {"decode": broken_at_random, "on_error": "skip", "max_error_rate": 1.0}
    expected = read(data, 2, **options)
    assert not all(all(valid) for *_, valid, _ in expected)
    assert read_in_processes(data, 2, workers=2, **options) == expected
    assert read_in_processes(data, 2, workers=3, concurrency=3, **options) == expected


def test_the_first_sample_that_does_not_fail_sets_the_fields_as_in_threads() -> None:
    def decode(data: bytes) -> np.ndarray:
        if int(data) < 9:  # more than the whole first batch
            raise ValueError("too small")
        return np.full(2, int(data), np.float32)

    options: dict[str, Any] = {"decode": decode, "on_error": "skip", "max_error_rate": 1.0, "batch_size": 12}
    expected = read(numbered(), shuffle=False, **options)
    assert read_in_processes(numbered(), shuffle=False, **options) == expected


# -- from every store ------------------------------------------------------------------------------------


def test_images_are_the_same_from_disk_http_memory_and_s3_in_processes(
    bucket: Bucket, image_root: Path, moto: Service
) -> None:
    folder = image_root / "train"
    objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    name = moto.new_bucket({f"t/{key}": body for key, body in objects.items()})
    on_disk = al.image_folder(folder)
    stores: dict[str, al.Dataset] = {
        "disk": on_disk,
        "file URL": al.image_folder(folder.as_uri()),
        "HTTP": al.image_folder(bucket.url),
        "memory": al.from_samples([(s.key, s.label) for s in on_disk], store=al.MemoryStore(objects)),
        "S3": al.image_folder(f"s3://{name}/t/", store=moto.store()),
    }
    expected = read(on_disk, decode=IMAGES)
    for store, data in stores.items():
        assert read_in_processes(data, decode=IMAGES) == expected, store
    assert bucket.image_gets() == N_IMAGES  # each once, whichever process asked


def test_byte_ranges_are_asked_for_in_processes_too() -> None:
    store = al.MemoryStore({"shard": b"".join(f"{i:04}".encode() for i in range(40))})
    samples = [al.SampleRef(index=0, key="shard", byte_range=(4 * i, 4 * i + 4)) for i in range(40)]
    with al.Loader(
        al.from_samples(samples, store=store), decode=of_bytes, batch_size=8, use_multiprocessing=True, workers=2
    ) as loader:
        assert [int(row[0, 0]) for (batch,) in loader for row in batch] == list(range(40))


# -- the memory of a batch -------------------------------------------------------------------------------


def test_batches_kept_beyond_the_ring_are_private_and_never_change() -> None:
    data = numbered()
    loader = al.Loader(
        data, decode=with_rng, batch_size=2, max_queue_size=1, seed=0, use_multiprocessing=True, workers=2
    )
    kept, digests = [], []
    with loader:
        for batch in loader.epochs(3):
            kept.append(batch)
            digests.append(batch[0].tobytes())
        assert [batch[0].tobytes() for batch in kept] == digests
        assert loader.stats().private_copies >= len(kept) - 2 * (1 + 2)
    assert [batch[0].tobytes() for batch in kept] == digests  # the memory outlives the loader
    kept[0][0][:] = -1
    assert (kept[0][0] == -1).all()
    assert [batch[0].tobytes() for batch in kept[1:]] == digests[1:]


def test_the_views_are_writable_and_aligned_for_every_framework() -> None:
    with al.Loader(numbered(), decode=in_dict, batch_size=7, use_multiprocessing=True, workers=2) as loader:
        for batch in loader:
            for array in (batch[0]["text"], batch[0]["nested"]["number"], batch[0]["nested"][3][1], batch[1]):
                assert array.flags.writeable
                assert array.flags.c_contiguous
                assert array.ctypes.data % 64 == 0
                array[...] = 1


def test_what_the_consumer_writes_into_a_batch_is_gone_when_its_slab_is_filled_again() -> None:
    data = numbered()
    expected = read(data, 3, decode=of_bytes, max_queue_size=1)
    found: Digest = []
    with al.Loader(
        data, decode=of_bytes, batch_size=7, shuffle=True, seed=3, max_queue_size=1, drop_last=False,
        use_multiprocessing=True, workers=2,
    ) as loader:  # fmt: skip
        for batch in loader.epochs(3):
            found += digest([batch])
            batch[0][...] = -5
            del batch
        assert loader.stats().private_copies == 0
    assert found == expected


# -- figures ---------------------------------------------------------------------------------------------


def test_statistics_count_every_sample_and_byte_of_every_process(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    assert data.sizes is not None
    options: dict[str, Any] = {"use_multiprocessing": True, "workers": 2, "retry": ASKED_ONCE}
    with al.Loader(data, decode=IMAGES, batch_size=8, **options) as loader:
        for _ in loader.epochs(2):
            pass
        stats = loader.stats()
        bound = loader.memory_bound()
    assert (stats.samples, stats.batches, stats.epochs, stats.skipped) == (2 * N_IMAGES, 14, 2, 0)
    assert stats.fetch.count == stats.decode.count == 2 * N_IMAGES
    assert stats.fetch.failed == stats.decode.failed == 0
    assert stats.bytes_fetched == 2 * int(data.sizes.sum())
    assert 0 < stats.fetch.p50_s <= stats.fetch.p99_s <= stats.fetch.max_s
    assert stats.decode.total_s > 0
    assert 1 <= stats.in_flight_peak <= 64
    assert 0 < stats.slab_bytes <= bound
    assert N_IMAGES <= bucket.image_gets() <= 2 * N_IMAGES  # both epochs may want an image at the same time
    for figure in ("102 samples", "14 batches", "use_multiprocessing=True", "workers=2"):
        assert figure in loader.report()


def test_statistics_count_failures_by_stage() -> None:
    data = numbered()
    store = al.MemoryStore({f"{i:03}": str(i).encode() for i in range(N) if i % 10})
    missing = al.from_samples([(f"{i:03}", 0) for i in range(N)], store=store)

    def decode(data: bytes) -> np.ndarray:
        if int(data) % 10 == 5:
            raise ValueError
        return np.zeros(1)

    def failed(data: al.Dataset) -> tuple[int, int, int]:
        with al.Loader(
            data, decode=decode, batch_size=20, on_error="skip", max_error_rate=1.0, use_multiprocessing=True, workers=2
        ) as loader:
            list(loader)
            stats = loader.stats()
        return stats.fetch.failed, stats.decode.failed, stats.skipped

    assert failed(data) == (0, 6, 6)
    assert failed(missing) == (6, 6, 12)
