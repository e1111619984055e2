"""Where the samples come from: the user's address, or generated pictures behind servers of several latencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from aioloader.cli.bench.demo_data import write_pictures
from aioloader.cli.bucket_process import bucket_process
from aioloader.cli.counting import counting
from aioloader.dataset.image_folder import image_folder
from aioloader.dataset.manifest import manifest
from aioloader.redact import redact_url
from aioloader.storage.url import scheme_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from aioloader.dataset.samples import Dataset

MOST_SAMPLES = 20_000
"""A run reads no more: it ends by its time, and each child gets the list."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Place:
    """``data`` at ``root``, the address its keys are relative to (never printed); ``latency_s`` where it is ours."""

    name: str
    root: str
    data: Dataset
    latency_s: float | None = None


def own_place(url: str, samples: int | None, *, is_manifest: bool) -> Place:
    """The user's data, listed. Raises what listing raises."""
    if is_manifest:
        data, root = manifest(url, label_mode=None), _folder_of(url)
    else:
        with counting("listing", "objects") as told:
            data, root = image_folder(url, label_mode=None, on_listed=told), url
    return Place(name=redact_url(url) if scheme_of(url) else url, root=root, data=_first(data, samples))


def demo_places(latencies_s: Sequence[float], samples: int | None, stack: ExitStack) -> list[Place]:
    """Generated pictures behind one server process a latency; all ends with ``stack``."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="aioloader-bench-")))
    write_pictures(folder)
    places = []
    for latency_s in latencies_s:
        url = stack.enter_context(bucket_process(folder, latency_s))
        data = _first(image_folder(url, label_mode=None), samples)
        places.append(Place(name=f"{latency_s * 1000:g} ms a request", root=url, data=data, latency_s=latency_s))
    return places


def typical(places: Sequence[Place]) -> Place:
    """The one to speak of: that whose latency is nearest to a bucket's, 50 ms."""
    return min(places, key=lambda place: abs((place.latency_s or 0.0) - 0.05))


def _first(data: Dataset, samples: int | None) -> Dataset:
    return data.subset(range(min(len(data), samples or MOST_SAMPLES)))


def _folder_of(url: str) -> str:
    plain = url.partition("?")[0] if scheme_of(url) in ("http", "https") else url
    folder, slash, _ = plain.rpartition("/")
    return folder + slash if slash else "."
