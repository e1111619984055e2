"""aioloader with every knob at its default but ``use_multiprocessing``, unless the row says otherwise."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import aioloader as al

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.job import Job


def number_of(key: str) -> int:
    """A sample's id, from its name."""
    return int(PurePosixPath(key).stem)


@lru_cache(maxsize=1)
def listed(root: str, extension: str, transport: str | None) -> al.Dataset:
    """The bucket's listing; every other competitor is given its addresses."""
    store = al.HTTPStore(transport=transport) if transport else None
    return al.image_folder(root, store=store, extensions=extension, label=number_of)


def prepare(job: Job) -> None:
    """List before the clock starts, and import the decoder's libraries, as all the others have done by then."""
    decoder_of(job)
    listed(job.root, job.extension, job.options.get("transport"))


def decoder_of(job: Job) -> Any:
    """The decoder by its name in the race."""
    if job.decoder == "none":
        return al.RawDecoder(shape=(job.body_bytes,))
    backend, _, dct = job.decoder.partition("-")
    # The others' "fast" is OpenCV's plain resize of all pixels; aioloader's own default is antialiased.
    plain = {"antialias": False} if backend == "fast" else {}
    return al.ImageDecoder(size=job.size, backend=backend, dct_scale=bool(dct), **plain)


def made(job: Job) -> al.Loader:
    """The loader of the race."""
    knobs = {name: value for name, value in job.options.items() if name != "transport"}
    data = listed(job.root, job.extension, job.options.get("transport")).subset(range(job.count))
    return al.Loader(data, decode=decoder_of(job), batch_size=job.batch_size, drop_last=False, **knobs)


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids)."""
    with made(job) as loader:
        yield loader


@contextmanager
def for_fit(job: Job) -> Iterator[Any]:
    """What ``fit`` takes."""
    with made(job) as loader:
        yield loader.to_keras()
