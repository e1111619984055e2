"""What a child interpreter is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioloader.dataset.samples import Dataset


@dataclass(frozen=True, kw_only=True, repr=False)
class Task:
    """One run of one mode. Never printed: ``root``, the address that the samples' keys are relative to, may hold a
    secret.

    A run ends after ``seconds``, or with the ``data``. ``knobs`` are options of `aioloader.Loader` in the place of the
    mode's own; ``is_watched`` asks for what aioloader saw of itself.
    """

    mode: str
    data: Dataset
    root: str
    decode: str
    batch_size: int
    seconds: float
    knobs: Mapping[str, int | bool] = field(default_factory=dict)
    is_watched: bool = False

    @property
    def largest_bytes(self) -> int | None:
        """The longest sample's length; None where the listing leaves one out."""
        sizes = self.data.sizes
        return None if sizes is None or sizes.min() < 0 else int(sizes.max())


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run came to. Seconds from the moment the loader is made; imports lie before it.

    ``samples_per_s`` and ``cpu_s_per_1000`` are of the time after the first batches (see `counting`); the CPU is that
    of the whole process tree. ``samples`` were delivered in all. ``first_checksum`` tells two modes' first batches
    apart. ``why_invalid`` is empty where every sample came once and in its place. ``peak_bytes`` is seen from outside.
    """

    samples: int
    samples_per_s: float
    first_batch_s: float
    cpu_s_per_1000: float
    seconds: float
    first_checksum: int
    why_invalid: str
    peak_bytes: int = 0
    watched: Mapping[str, Any] = field(default_factory=dict)
