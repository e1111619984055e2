"""`Job`: what one competitor is told to do in one run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Job:
    """One epoch over ``count`` samples, which are named by their number.

    ``root`` is a URL or a folder, ending in a slash; sample ``i`` lies at ``root + f"{i:06d}" + extension``.
    ``decoder`` is a name in `runner.decoders`, or "none": then a sample is its ``body_bytes`` bytes. ``size`` is
    (height, width). ``options`` are the competitor's own knobs, chosen by the sweep.
    """

    peer: str
    row: str
    root: str
    count: int
    extension: str
    body_bytes: int
    batch_size: int
    decoder: str
    through_fit: bool
    size: tuple[int, int] = (224, 224)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job written down in the JSON file ``path``."""
        fields = json.loads(path.read_text())
        return cls(**(fields | {"size": tuple(fields["size"])}))

    @property
    def is_remote(self) -> bool:
        """Whether samples are fetched over HTTP."""
        return self.root.startswith("http")

    def address(self, index: int) -> str:
        """The URL or path of sample ``index``."""
        return f"{self.root}{index:06d}{self.extension}"

    def batches(self) -> list[list[int]]:
        """The ids of each batch, in order; the last may be short."""
        return [
            list(range(first, min(first + self.batch_size, self.count)))
            for first in range(0, self.count, self.batch_size)
        ]

    def first(self, count: int) -> Job:
        """The same job over its first ``count`` samples."""
        return replace(self, count=min(count, self.count))
