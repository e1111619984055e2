"""`Objects`: the files of a row, made once into the cache folder, the same on every machine."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from race.photos import PhotoKind, photo

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Part of the folder's name: raise it when the bytes change."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """``name`` of the folder; JPEGs of ``photo``'s kind, or else ``body_bytes`` bytes that follow from the number."""

    name: str
    body_bytes: int
    photo: PhotoKind | None = None

    @property
    def extension(self) -> str:
        """What the names end in."""
        return ".bin" if self.photo is None else ".jpg"

    def made_in(self, cache: Path, count: int) -> Path:
        """The folder with (at least) the first ``count`` objects and the ``index.jsonl`` that lists them."""
        folder = cache / f"{self.name}-v{VERSION}"
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / "index.jsonl"
        listed = index.read_text().count("\n") if index.exists() else 0
        if listed >= count:
            return folder
        with multiprocessing.Pool() as pool:
            sizes = pool.map(partial(_write, self, folder), range(count), chunksize=8)
        lines = [
            json.dumps({"key": f"{number:06d}{self.extension}", "size": size}) for number, size in enumerate(sizes)
        ]
        index.write_text("\n".join(lines) + "\n")
        return folder


def _write(objects: Objects, folder: Path, number: int) -> int:
    """Write object ``number`` unless it is there; its size in bytes."""
    path = folder / f"{number:06d}{objects.extension}"
    if not path.exists():
        if objects.photo is not None:
            body = photo(number, objects.photo)
        else:
            # A multiplier without small factors, so that neighbours differ in their first byte already.
            word = (number * 0x9E3779B97F4A7C15 + 1) % 2**64
            body = (word.to_bytes(8, "little") * (objects.body_bytes // 8 + 1))[: objects.body_bytes]
        part = path.with_suffix(".part")
        part.write_bytes(body)
        part.rename(path)
    return path.stat().st_size


IMAGENET_LIKE = Objects(
    name="jpeg-500x375", body_bytes=66_000, photo=PhotoKind(width=500, height=375, grain=5, quality=84)
)
LARGE_PHOTOS = Objects(
    name="jpeg-3000x2000", body_bytes=2_000_000, photo=PhotoKind(width=3000, height=2000, grain=4, quality=88)
)
SMALL_OBJECTS = Objects(name="bytes-64k", body_bytes=65_536)
TINY_SAMPLES = Objects(name="bytes-2k", body_bytes=2_000)
