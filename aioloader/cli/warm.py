"""``aioloader cache warm``: fill a loader's cache before training, so that the first epoch reads from it, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from aioloader.errors import OptionError

if TYPE_CHECKING:
    import argparse

    from aioloader.dataset.samples import Dataset
    from aioloader.loader import Loader
    from aioloader.monitor.stats import CacheCounts

_PASSES: Final = 5
"""What was dropped because the disk is slower than the bucket is fetched once more, so often at most in all."""
_QUIET_S, _LOOK_S = 1.0, 0.05
"""Nothing was written for so long: nothing will be."""
_BATCH: Final = 256


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``warm`` to what ``aioloader cache`` does."""
    action = actions.add_parser(
        "warm",
        help="fetch all of a dataset into the cache; 1 where not all of it is in there afterwards",
        description="Fetch what a dataset names into the directory that loaders will be given as cache=. What is in "
        "there already is checked and not fetched again, so a run that was stopped goes on where it was.",
        parents=[shared],
    )
    action.add_argument("directory", metavar="DIR", help="the cache; it is made where there is none")
    action.add_argument("url", metavar="URL", help="a folder of images: http(s)://, s3://, gs://, az://")
    action.add_argument(
        "--manifest", action="store_true", help="URL is a CSV, JSON lines or Parquet file that lists the samples"
    )
    action.add_argument(
        "--size",
        default="auto",
        metavar="SIZE",
        help="how large the cache may become, such as 100GB (default: half of what is free)",
    )
    action.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fill it; 0 where all is in there, 1 where not."""
    data = _dataset(options.url, is_manifest=options.manifest)
    if data.store.origin.startswith(("file:", "memory:")):
        raise OptionError("URL", repr(options.url), "a bucket or a web server: local files are not cached")
    first = counts = _pass(data, options)
    for _ in range(_PASSES - 1):
        if _has_all(counts, data) or counts.stopped or not counts.written:
            break
        counts = _pass(data, options)
    there = counts.hits + counts.written
    print(f"{options.directory}: {there:,} of {len(data):,} objects are in it, {first.hits:,} of them were before")
    if _has_all(counts, data):
        return 0
    print(f"  {_why(counts)}")
    return 1


def _has_all(counts: CacheCounts, data: Dataset) -> bool:
    return counts.hits + counts.written >= len(data)


def _dataset(url: str, *, is_manifest: bool) -> Dataset:
    from aioloader.cli.counting import counting
    from aioloader.dataset.image_folder import image_folder
    from aioloader.dataset.manifest import manifest

    if is_manifest:
        return manifest(url, label_mode=None)
    with counting("listing", "objects") as told:
        return image_folder(url, label_mode=None, on_listed=told)


def _pass(data: Dataset, options: argparse.Namespace) -> CacheCounts:
    """One epoch through the cache, until what it fetched is written."""
    from aioloader.loader import Loader
    from aioloader.view.progress import progress

    with Loader(
        data,
        decode=_nothing,
        batch_size=min(_BATCH, len(data)),
        drop_last=False,
        use_multiprocessing=False,
        cache=options.directory,
        cache_size=options.size,
    ) as loader:
        with progress(loader, epochs=1):
            for _ in loader:
                pass
        return _settled(loader)


def _settled(loader: Loader) -> CacheCounts:
    """The counts once no write is under way: they go on behind the last sample."""
    counts, since_s = loader.stats().cache, time.monotonic()
    while counts.written + counts.dropped < counts.misses:
        time.sleep(_LOOK_S)
        now = loader.stats().cache
        if now != counts:
            counts, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > _QUIET_S:  # it is full, or others have written the rest
            break
    return counts


def _why(counts: CacheCounts) -> str:
    import os

    from aioloader.monitor.stats import STOPPED_DISK_FULL, STOPPED_FULL

    if counts.stopped == STOPPED_FULL:
        return "it is full: give it more with --size; what is not in it comes from the bucket each epoch"
    if counts.stopped == STOPPED_DISK_FULL:
        return "the disk is full: 5 % of it stays free; what is not in it comes from the bucket each epoch"
    if counts.stopped > 0:
        return f"nothing more could be written: {os.strerror(counts.stopped)}"
    if counts.dropped:
        return f"its disk is slower than the bucket: {counts.dropped:,} were dropped in the last pass; run it again"
    return "the others are too large for it: give it more with --size"


def _nothing(data: bytes) -> Any:
    import numpy as np

    return np.zeros(1, np.uint8)
