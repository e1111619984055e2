"""Every sample once an epoch, in an order that only the seed and the epoch decide, from every store."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import ASKED_ONCE, CLASSES, N_IMAGES, PER_CLASS, Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aioloader.dataset.samples import Dataset
    from tests.s3_services import Service

DECODE = al.ImageDecoder(size=(8, 8))
EVERYWHERE = pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])


def digest(batches: Iterable[al.Batch]) -> list[tuple[list[int], bytes, bytes]]:
    """What the batches hold, to the byte."""
    return [(batch.sample_ids.tolist(), batch[0].tobytes(), batch[1].tobytes()) for batch in batches]


def read_epoch(
    data: Dataset, *, seed: int = 0, concurrency: int = 8, workers: int = 2, in_processes: bool = False
) -> list[tuple[list[int], bytes, bytes]]:
    with al.Loader(
        data,
        decode=DECODE,
        batch_size=8,
        shuffle=True,
        seed=seed,
        concurrency=concurrency,
        workers=workers,
        use_multiprocessing=in_processes,
    ) as loader:
        return digest(loader)


def test_batches_are_images_and_labels_of_the_declared_shapes(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    assert data.classes == CLASSES
    with al.Loader(data, decode=DECODE, batch_size=16) as loader:
        batches = list(loader)
    assert [batch[0].shape for batch in batches] == [(16, 8, 8, 3)] * 3 + [(3, 8, 8, 3)]
    assert all(batch[0].dtype == np.uint8 and batch[1].dtype == np.int64 for batch in batches)
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == [label for label in range(len(CLASSES)) for _ in range(PER_CLASS)]
    assert [batch.step for batch in batches] == [0, 1, 2, 3]
    assert all(batch.valid.all() for batch in batches)


@EVERYWHERE
@pytest.mark.parametrize("drop_last", [True, False])
def test_each_id_comes_exactly_once_in_each_of_three_epochs(
    bucket: Bucket, *, drop_last: bool, in_processes: bool
) -> None:
    data = al.image_folder(bucket.url)
    orders = []
    options: dict[str, Any] = {"drop_last": drop_last, "use_multiprocessing": in_processes}
    with al.Loader(data, decode=DECODE, batch_size=8, shuffle=True, seed=3, **options) as loader:
        for epoch in range(3):
            batches = list(loader)
            assert {batch.epoch for batch in batches} == {epoch}
            orders.append(np.concatenate([batch.sample_ids for batch in batches]).tolist())
    for order in orders:
        assert len(order) == len(set(order)) == (N_IMAGES // 8 * 8 if drop_last else N_IMAGES)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_are_byte_identical_for_every_concurrency_and_worker_count(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    expected = read_epoch(data, concurrency=1, workers=1)
    for concurrency, workers in itertools.product((1, 8, 64), (1, 2, 4)):
        assert read_epoch(data, concurrency=concurrency, workers=workers) == expected, (concurrency, workers)


def test_batches_are_byte_identical_from_disk_and_http(bucket: Bucket, image_root: Path) -> None:
    over_http = read_epoch(al.image_folder(bucket.url))
    assert read_epoch(al.image_folder(image_root / "train")) == over_http
    assert read_epoch(al.image_folder((image_root / "train").as_uri())) == over_http


def test_another_seed_gives_another_order(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    assert [ids for ids, *_ in read_epoch(data, seed=1)] != [ids for ids, *_ in read_epoch(data, seed=2)]


def test_a_seed_of_none_is_drawn_and_recorded(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=8, shuffle=True) as loader:
        drawn = digest(loader)
    with al.Loader(data, decode=DECODE, batch_size=8, shuffle=True, seed=loader.seed) as again:
        assert digest(again) == drawn


@EVERYWHERE
def test_one_plain_loop_makes_exactly_one_get_for_each_sample(bucket: Bucket, *, in_processes: bool) -> None:
    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=8, concurrency=64, use_multiprocessing=in_processes) as loader:
        for _ in loader:
            pass
    assert bucket.image_gets() == N_IMAGES
    assert max(n for (_, key), n in bucket.server.requests.items() if key.endswith(".png")) == 1


@EVERYWHERE
def test_epochs_reads_several_epochs_with_no_more_than_their_gets(bucket: Bucket, *, in_processes: bool) -> None:
    data = al.image_folder(bucket.url)
    options: dict[str, Any] = {"drop_last": False, "use_multiprocessing": in_processes, "retry": ASKED_ONCE}
    with al.Loader(data, decode=DECODE, batch_size=8, shuffle=True, seed=0, **options) as loader:
        seen = [(batch.epoch, batch.step, id_) for batch in loader.epochs(3) for id_ in batch.sample_ids.tolist()]
    assert sorted((epoch, id_) for epoch, _, id_ in seen) == [(e, i) for e in range(3) for i in range(N_IMAGES)]
    # The next epoch is begun before this one ends: one GET serves both where they want the same image at the same time.
    assert N_IMAGES <= bucket.image_gets() <= 3 * N_IMAGES


def test_batches_kept_by_the_caller_are_never_overwritten(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=2, max_queue_size=1) as loader:
        kept, digests = [], []
        for batch in loader.epochs(2):
            kept.append(batch)  # far more than the ring has slabs
            digests.append(batch[0].tobytes())
    assert [batch[0].tobytes() for batch in kept] == digests
    assert loader.stats().private_copies > 0


def test_two_loaders_side_by_side_each_deliver_exactly(bucket: Bucket) -> None:
    train, held_out = al.image_folder(bucket.url).split(0.7, 0.3)
    with (
        al.Loader(train, decode=DECODE, batch_size=4, shuffle=True, seed=0, drop_last=False) as one,
        al.Loader(held_out, decode=DECODE, batch_size=4) as other,
    ):
        for _ in range(3):
            assert [i for batch in other for i in batch.sample_ids.tolist()] == list(range(len(held_out)))
            assert sorted(i for batch in one for i in batch.sample_ids.tolist()) == list(range(len(train)))


def test_ranks_share_an_epoch_without_overlap(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    seen: list[int] = []
    steps = set()
    for rank in range(4):
        with al.Loader(
            data, decode=DECODE, batch_size=5, shuffle=True, seed=0, drop_last=False, rank=rank, world_size=4
        ) as loader:
            batches = list(loader)
        steps.add(tuple(len(batch[0]) for batch in batches))
        for batch in batches:
            assert len(batch) == 3  # stand-ins need weights
            assert (batch[2] == batch.valid).all()
            seen += batch.sample_ids[batch.valid].tolist()
    assert sorted(seen) == list(range(N_IMAGES))
    assert len(steps) == 1  # every rank has the same steps of the same length


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_the_async_loader_delivers_the_same_batches(bucket: Bucket) -> None:
    data = await asyncio.to_thread(al.image_folder, bucket.url)
    async with al.AsyncLoader(data, decode=DECODE, batch_size=8, shuffle=True, seed=0) as batches:
        found = digest([batch async for batch in batches])
    assert found == await asyncio.to_thread(read_epoch, data)


def test_a_decoder_may_be_a_coroutine_and_return_its_own_label(bucket: Bucket) -> None:
    async def decode(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, int]:
        return np.frombuffer(data[:8], np.uint8), len(data)

    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=decode, batch_size=N_IMAGES) as loader:
        ((heads, lengths),) = list(loader)
    assert (heads == np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8)).all()
    assert data.sizes is not None
    assert lengths.tolist() == data.sizes.tolist()


def test_a_transform_draws_the_same_randomness_for_any_worker_count(bucket: Bucket) -> None:
    def flip(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image[:, ::-1] if rng.random() < 0.5 else image

    data = al.image_folder(bucket.url)

    def epochs(workers: int) -> list[tuple[list[int], bytes, bytes]]:
        with al.Loader(
            data, decode=DECODE, transform=flip, batch_size=8, shuffle=True, seed=5, workers=workers
        ) as loader:
            return digest(loader.epochs(2))

    assert epochs(1) == epochs(4)
    assert epochs(1) != digest(al.Loader(data, decode=DECODE, batch_size=8, shuffle=True, seed=5).epochs(2))


def test_dicts_and_tuples_come_out_as_they_went_in(bucket: Bucket) -> None:
    def decode(data: bytes, sample: al.SampleRef) -> tuple[dict[str, object], float]:
        return {"head": np.frombuffer(data[:4], np.uint8), "size": len(data)}, 0.5

    with al.Loader(al.image_folder(bucket.url), decode=decode, batch_size=10) as loader:
        x, y = next(iter(loader))
    assert {name: (value.shape, str(value.dtype)) for name, value in x.items()} == {
        "head": ((10, 4), "uint8"),
        "size": ((10,), "int64"),
    }
    assert y.tolist() == [0.5] * 10


def test_class_weights_and_label_modes(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url, label_mode="categorical")
    with al.Loader(data, decode=DECODE, batch_size=N_IMAGES, class_weight={0: 2.0, 2: 0.5}) as loader:
        ((_, labels, weights),) = list(loader)
    assert labels.shape == (N_IMAGES, 3)
    assert labels.dtype == weights.dtype == np.float32
    assert weights.tolist() == [2.0] * PER_CLASS + [1.0] * PER_CLASS + [0.5] * PER_CLASS


def test_stats_and_report_say_what_happened(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=8) as loader:
        assert "no batch was read yet" in loader.report()
        for _ in loader:
            pass
        stats = loader.stats()
    assert (stats.samples, stats.batches, stats.epochs) == (N_IMAGES, 7, 1)
    assert stats.fetch.count == stats.decode.count == N_IMAGES
    assert 0 < stats.data_wait_s <= stats.elapsed_s
    assert 0 < stats.fetch.p50_s <= stats.fetch.p99_s <= stats.fetch.max_s
    assert stats.slab_bytes <= loader.memory_bound()
    report = loader.report()
    for figure in ("51 samples", "7 batches", "data wait", "p50", "p99", "occupied", "concurrency=64 (auto)"):
        assert figure in report


def uploaded(service: Service, root: Path) -> Dataset:
    """The images below ``root`` in a fresh bucket of ``service``."""
    objects = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}
    bucket_name = service.new_bucket({f"train/{key}": body for key, body in objects.items()})
    return al.image_folder(f"s3://{bucket_name}/train/", store=service.store())


def test_batches_are_byte_identical_from_s3_on_moto(moto: Service, image_root: Path) -> None:
    expected = read_epoch(al.image_folder(image_root / "train"))
    data = uploaded(moto, image_root / "train")
    for concurrency, workers in ((1, 1), (64, 4)):
        assert read_epoch(data, concurrency=concurrency, workers=workers) == expected


@pytest.mark.ceph
def test_batches_are_byte_identical_from_s3_on_ceph(ceph: Service, image_root: Path) -> None:
    expected = read_epoch(al.image_folder(image_root / "train"))
    data = uploaded(ceph, image_root / "train")
    for concurrency, workers in itertools.product((1, 8, 64), (1, 2, 4)):
        assert read_epoch(data, concurrency=concurrency, workers=workers) == expected
    assert read_epoch(data, concurrency=8, workers=2, in_processes=True) == expected


@EVERYWHERE
def test_no_more_batches_than_max_queue_size_wait_for_a_slow_consumer(bucket: Bucket, *, in_processes: bool) -> None:
    options: dict[str, Any] = {"max_queue_size": 3, "use_multiprocessing": in_processes}
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=2, **options) as loader:
        batches = iter(loader)
        next(batches)
        deadline = time.monotonic() + 5
        while loader.stats().decode.count < 3 * 2 and time.monotonic() < deadline and loader.stats().queue_peak < 3:
            time.sleep(0.01)  # the loader fills its queue while this consumer is slow
        time.sleep(0.1)
        assert loader.stats().queue_peak == 3
