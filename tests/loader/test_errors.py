"""Bad input: one sentence that names the sample or the option and the next step, raised in the consumer."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader import errors
from tests.loader.conftest import N_IMAGES, Bucket

if TYPE_CHECKING:
    from pathlib import Path

DECODE = al.ImageDecoder(size=(8, 8))


def test_a_missing_key_names_the_sample_and_ends_the_epoch(bucket: Bucket) -> None:
    data = al.from_samples([("ants/nowhere.png", 0)], root=bucket.url)
    with al.Loader(data, decode=DECODE) as loader:
        batches = iter(loader)
        with pytest.raises(errors.ObjectNotFoundError, match=r"sample 0 .*train/ants/nowhere\.png.*404") as caught:
            next(batches)
        assert (caught.value.sample_id, caught.value.stage) == (0, "fetch")
        assert next(batches, None) is None
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_batches_before_the_failing_one_are_delivered_first(bucket: Bucket) -> None:
    good = list(al.image_folder(bucket.url))
    samples = [*good[:20], al.SampleRef(index=0, key="ants/nowhere.png", label=0), *good[20:]]
    with al.Loader(al.from_samples(samples, root=bucket.url), decode=DECODE, batch_size=8) as loader:
        batches = iter(loader)
        assert [next(batches).step, next(batches).step] == [0, 1]
        with pytest.raises(errors.ObjectNotFoundError, match="sample 20 "):
            next(batches)


def test_a_corrupt_image_names_the_file_and_chains_the_cause(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "cats" / "a.jpg")
    cut = (tmp_path / "cats" / "a.jpg").read_bytes()[:-200]
    (tmp_path / "cats" / "b.jpg").write_bytes(cut)
    with (
        al.Loader(al.image_folder(tmp_path), decode=DECODE, batch_size=2) as loader,
        pytest.raises(errors.DecodeError, match=r"sample 1 \(.*cats/b\.jpg\): decode failed: ") as caught,
    ):
        next(iter(loader))
    assert caught.value.__cause__ is not None
    assert caught.value.hint


def test_a_refused_connection_names_host_and_port() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets the port
        url = f"http://127.0.0.1:{holder.getsockname()[1]}/train/"
        with pytest.raises(errors.ConnectFailedError, match=r"127\.0\.0\.1:\d+") as caught:
            al.image_folder(url)
        assert caught.value.hint
        data = al.from_samples([("a.png", 1)], root=url)
        with al.Loader(data, decode=DECODE) as loader, pytest.raises(errors.ConnectFailedError, match="sample 0 "):
            next(iter(loader))


def test_a_wrong_label_column_lists_the_columns_there_are(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("key,kind\na.png,1\n")
    with pytest.raises(errors.ManifestError, match=r"label.*kind"):
        al.manifest(tmp_path / "train.csv")


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(errors.EmptyDatasetError, match=r"\.jpg.*notes\.txt|notes\.txt.*\.jpg"):
        al.image_folder(tmp_path)


@dataclass(frozen=True)
class BadOption:
    """An option's value that cannot work, and words its error must have."""

    id: str
    options: dict[str, Any]
    words: tuple[str, ...] = field(default=())


BAD_OPTIONS = [
    BadOption("batch_size zero", {"batch_size": 0}, ("batch_size=0", "at least 1")),
    BadOption("batch_size text", {"batch_size": "32"}, ("batch_size='32'",)),
    BadOption("concurrency", {"concurrency": 0}, ("concurrency=0", '"auto"')),
    BadOption("workers", {"workers": 0}, ("workers=0",)),
    BadOption("max_queue_size", {"max_queue_size": -1}, ("max_queue_size=-1",)),
    BadOption("processes", {"use_multiprocessing": 2}, ("use_multiprocessing=2", '"auto"')),
    BadOption("order", {"order": "sorted"}, ("order='sorted'", "window")),
    BadOption("seed", {"seed": -1}, ("seed=-1",)),
    BadOption("shuffle", {"shuffle": 5}, ("shuffle=5",)),
    BadOption("on_error", {"on_error": "ignore"}, ("on_error='ignore'", '"skip"')),
    BadOption("max_error_rate", {"max_error_rate": 2}, ("max_error_rate=2",)),
    BadOption("max_memory", {"max_memory": "lots"}, ("max_memory='lots'", "500MB")),
    BadOption("rank", {"rank": 2, "world_size": 2, "seed": 0}, ("rank=2",)),
    BadOption("no seed with ranks", {"world_size": 2}, ("seed=None", "every rank")),
    BadOption("drop_last", {"drop_last": True, "batch_size": 1000}, ("drop_last=True", "51 samples")),
    BadOption("decode", {"decode": None}, ("decode=None", "ImageDecoder")),
    BadOption("class_weight", {"class_weight": [1, 2]}, ("class_weight=", "dict")),
    BadOption("sample_weight", {"sample_weight": "w"}, ("sample_weight='w'", "columns")),
]


@pytest.mark.parametrize("case", BAD_OPTIONS, ids=lambda case: case.id)
def test_a_bad_option_is_named_with_what_would_do(bucket: Bucket, case: BadOption) -> None:
    data = al.image_folder(bucket.url)
    with pytest.raises(errors.OptionError) as caught:
        al.Loader(data, **{"decode": DECODE, **case.options})
    for word in case.words:
        assert word in str(caught.value)


def test_a_batch_that_does_not_fit_max_memory_says_how_much_it_needs(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    with (
        al.Loader(data, decode=al.ImageDecoder(size=(512, 512)), batch_size=32, max_memory="10MB") as loader,
        pytest.raises(errors.OptionError, match=r"max_memory=.*lower batch_size"),
    ):
        next(iter(loader))


def test_samples_of_different_shapes_name_both_and_the_remedy(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "cats").mkdir()
    for name, side in (("a.png", 8), ("b.png", 9)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / "cats" / name)
    with (
        al.Loader(al.image_folder(tmp_path), decode=al.ImageDecoder(size=None), batch_size=2) as loader,
        pytest.raises(errors.ShapeMismatchError, match=r"cats/b\.png.*cats/a\.png") as caught,
    ):
        next(iter(loader))
    assert "size=" in str(caught.value)


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError]
)
@pytest.mark.parametrize("coroutine", [False, True])
def test_whatever_a_decoder_raises_reaches_the_consumer_as_a_decode_error(
    bucket: Bucket, kind: type[BaseException], *, coroutine: bool
) -> None:
    def decode(data: bytes) -> np.ndarray:
        raise kind("no such luck")

    async def decode_async(data: bytes) -> np.ndarray:
        raise kind("no such luck")

    with (
        al.Loader(al.image_folder(bucket.url), decode=decode_async if coroutine else decode) as loader,
        pytest.raises(errors.DecodeError, match=rf"sample 0 .*{kind.__name__}") as caught,
    ):
        next(iter(loader))
    assert isinstance(caught.value.__cause__, kind | RuntimeError)


def test_a_failing_transform_is_named(bucket: Bucket) -> None:
    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise ZeroDivisionError("by zero")

    with (
        al.Loader(al.image_folder(bucket.url), decode=DECODE, transform=transform) as loader,
        pytest.raises(errors.TransformError, match=r"sample 0 .*transform failed.*ZeroDivisionError: by zero"),
    ):
        next(iter(loader))


def break_some(folder: Path, every: int) -> int:
    """Cut every n-th image below ``folder``; returns how many."""
    broken = sorted(folder.rglob("*.png"))[::every]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    return len(broken)


@pytest.fixture
def damaged(image_root: Path, tmp_path: Path) -> Path:
    """A copy of the images with every tenth cut short."""
    import shutil

    shutil.copytree(image_root / "train", tmp_path / "train")
    assert break_some(tmp_path / "train", 10) == 6
    return tmp_path / "train"


def test_skip_keeps_every_batch_full_and_names_what_it_skipped(damaged: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    data = al.image_folder(damaged)
    options: dict[str, Any] = {"decode": DECODE, "batch_size": 8, "shuffle": True, "seed": 0, "drop_last": False}
    with al.Loader(data, on_error="skip", max_error_rate=0.5, ledger=ledger, class_weight={}, **options) as loader:
        batches = list(loader)
    skipped = [int(id_) for batch in batches for id_ in batch.sample_ids[~batch.valid]]
    assert sorted(np.concatenate([batch.sample_ids for batch in batches]).tolist()) == list(range(N_IMAGES))
    assert sorted(skipped) == [0, 10, 20, 30, 40, 50]
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["sample_id"] for line in lines] == [entry.sample_id for entry in loader.skipped] == skipped
    by_id = {int(i): (batch, slot) for batch in batches for slot, i in enumerate(batch.sample_ids)}
    for line in lines:
        batch, slot = by_id[line["sample_id"]]
        stand_in_batch, stand_in_slot = by_id[line["stand_in"]]
        assert stand_in_batch is batch  # from the same batch: no other batch's content changes
        assert (batch[0][slot] == batch[0][stand_in_slot]).all()
        assert batch[1][slot] == batch[1][stand_in_slot]
        assert batch[2][slot] == 0
    assert "6 stand-ins" in loader.report()

    with al.Loader(data, skip_list=ledger, **options) as clean:
        assert len(clean.data) == N_IMAGES - 6
        assert all(batch.valid.all() for batch in clean)


def test_skip_gives_the_same_batches_for_any_concurrency(damaged: Path) -> None:
    def epoch(concurrency: int, workers: int) -> list[tuple[bytes, bytes]]:
        with al.Loader(
            al.image_folder(damaged),
            decode=DECODE,
            batch_size=8,
            shuffle=True,
            seed=1,
            on_error="skip",
            max_error_rate=1.0,
            concurrency=concurrency,
            workers=workers,
        ) as loader:
            return [(images.tobytes(), labels.tobytes()) for images, labels in loader]

    assert epoch(1, 1) == epoch(64, 4)


def test_skip_raises_above_the_error_rate(damaged: Path) -> None:
    with (
        al.Loader(
            al.image_folder(damaged), decode=DECODE, batch_size=8, on_error="skip", max_error_rate=0.05
        ) as loader,
        pytest.raises(errors.SkipBudgetExceededError, match=r"max_error_rate=0\.05"),
    ):
        for _ in loader.epochs(3):
            pass


def test_skip_never_skips_a_refused_connection() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        data = al.from_samples([(f"{i}.png", i) for i in range(4)], root=f"http://127.0.0.1:{holder.getsockname()[1]}/")
        with (
            al.Loader(data, decode=DECODE, batch_size=2, on_error="skip", max_error_rate=1.0) as loader,
            pytest.raises(errors.ConnectFailedError),
        ):
            next(iter(loader))


def test_a_url_instead_of_a_dataset_says_what_to_pass(bucket: Bucket) -> None:
    with pytest.raises(errors.OptionError, match=r"data=.*al\.image_folder"):
        al.Loader(bucket.url, decode=DECODE)  # type: ignore[arg-type]  # the mistake under test


def test_an_unknown_option_names_the_loader() -> None:
    with pytest.raises(TypeError, match=r"Loader\.__init__\(\).*batchsize"):
        al.Loader(None, decode=DECODE, batchsize=3)  # type: ignore[call-arg, arg-type]  # the mistake under test


def test_a_ledger_that_cannot_be_written_is_refused_before_anything_is_lost(bucket: Bucket, tmp_path: Path) -> None:
    data = al.image_folder(bucket.url)
    with pytest.raises(errors.OptionError, match=r"ledger=.*nowhere.*folder"):
        al.Loader(data, decode=DECODE, on_error="skip", ledger=tmp_path / "nowhere" / "ledger.jsonl")
    with pytest.raises(errors.OptionError, match=r"skip_list=.*list of keys"):
        al.Loader(data, decode=DECODE, skip_list="ants/a.png")


def test_one_file_may_be_ledger_and_skip_list_from_the_first_run_on(damaged: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "bad.jsonl"
    lengths = []
    for _ in range(2):
        with al.Loader(
            al.image_folder(damaged),
            decode=DECODE,
            batch_size=8,
            on_error="skip",
            max_error_rate=1,
            ledger=ledger,
            skip_list=ledger,
        ) as loader:
            lengths.append((len(loader.data), sum(1 for batch in loader if not batch.valid.all())))
    assert lengths == [(N_IMAGES, 6), (N_IMAGES - 6, 0)]
    assert len(ledger.read_text().splitlines()) == 6


def test_a_batch_prints_its_shapes_and_no_pixels(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=8) as loader:
        assert repr(next(iter(loader))) == "Batch(epoch=0, step=0: uint8[8, 8, 8, 3], int64[8])"
