"""Which positions of an epoch belong to which step of which rank.

Step s of rank r owns the global positions s·W·B + r·B + [0, B). Every rank has the same number of steps, and at each
step the same number of slots: with ``drop_last`` the tail is left out; without it the last step is short, and ranks
with fewer real samples than slots fill them with stand-ins (positions taken modulo n, weight 0), so that the union
over the ranks is exactly the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StepSlice:
    """One step of one rank: global ``positions`` (int64, ``(slots,)``), of which the first ``n_real`` count."""

    positions: NDArray[np.int64]
    n_real: int


@dataclass(frozen=True)
class RankPlan:
    """The steps of one rank; the same object for every epoch."""

    n_samples: int
    batch_size: int
    rank: int
    world_size: int
    drop_last: bool

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch, equal on all ranks."""
        global_batch = self.batch_size * self.world_size
        full, rest = divmod(self.n_samples, global_batch)
        return full if self.drop_last or rest == 0 else full + 1

    @cached_property
    def last_slots(self) -> int:
        """Slots of the last step, equal on all ranks."""
        rest = self.n_samples % (self.batch_size * self.world_size)
        return self.batch_size if self.drop_last or rest == 0 else min(self.batch_size, rest)

    @cached_property
    def slots_per_epoch(self) -> int:
        """Slots of all steps of this rank, stand-ins included."""
        return 0 if self.steps == 0 else (self.steps - 1) * self.batch_size + self.last_slots

    @cached_property
    def unseen_per_epoch(self) -> int:
        """Samples that ``drop_last`` leaves out of an epoch, over all ranks."""
        return self.n_samples - self.steps * self.batch_size * self.world_size if self.drop_last else 0

    def slots(self, step: int) -> int:
        """Slots of ``step``."""
        return self.last_slots if step == self.steps - 1 else self.batch_size

    def slice(self, step: int) -> StepSlice:
        """What this rank reads at ``step``."""
        start = step * self.batch_size * self.world_size + self.rank * self.batch_size
        positions = np.arange(start, start + self.slots(step), dtype=np.int64)
        n_real = int(np.clip(self.n_samples - start, 0, len(positions)))
        return StepSlice(positions % self.n_samples if n_real < len(positions) else positions, n_real)
