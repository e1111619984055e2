"""One step of a stream while its slots are being filled, and one sample on its way to a slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aioloader.batch.slab import Slab
    from aioloader.errors import SampleError
    from aioloader.types import SampleRef


@dataclass(slots=True, eq=False)
class Step:
    """``index`` counts within the stream, ``number`` within its epoch. Guarded by the stream's lock.

    ``positions`` and ``sample_ids`` are known from the start in strict order, else slot by slot as samples arrive.
    """

    index: int
    epoch: int
    number: int
    positions: NDArray[np.int64]
    n_real: int
    sample_ids: NDArray[np.int64]
    remaining: int
    slab: Slab | None = None
    decoding: int = 0
    ready_at: float = 0.0
    decode_s: list[float] = field(default_factory=list)
    failures: list[tuple[int, SampleError]] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """Slots of this step, stand-ins included."""
        return len(self.positions)


@dataclass(slots=True, eq=False)
class Item:
    """A fetched sample on its way to a slot.

    ``slot`` and ``slab`` are set when a decoder may work on it; the slab stays None for the first sample of all,
    which sets the shapes. ``nbytes`` were fetched, in ``fetch_s``. ``decoded`` holds what the decoder returned where
    it ran before the slot was known; ``again`` what `Witnesses` has made of its body by then.
    """

    ticket: int
    epoch: int
    position: int
    sample: SampleRef
    body: bytes
    reserved_bytes: int
    nbytes: int = 0
    fetch_s: float = 0.0
    decoded: Any = None
    is_decoded: bool = False
    decode_s: float = 0.0
    again: Any = None
    slot: int = -1
    slab: Slab | None = None
