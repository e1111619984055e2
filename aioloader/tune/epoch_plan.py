"""The options that decide the order of an epoch and who reads what of it, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from aioloader.errors import OptionError
from aioloader.order.ranks import RankPlan

if TYPE_CHECKING:
    from aioloader.tune.knobs import Auto


def checked_seed(seed: SupportsIndex | None, *, world_size: object) -> int | None:
    """The seed as an int, or None to draw one, which only a single rank may. Raises `OptionError`."""
    if seed is None:
        if world_size != 1:
            raise OptionError("seed", "None", "a number, the same on every rank, when world_size is more than 1")
        return None
    if not _is_count(seed, least=0) or int(seed) >= 2**64:
        raise OptionError("seed", repr(seed), "a whole number from 0 to 2**64 - 1, or None to draw one")
    return int(seed)


def rank_plan(
    n_samples: int, batch_size: int, rank: int, world_size: int, *, shuffle: bool, drop_last: bool | Auto
) -> RankPlan:
    """The steps of this rank. ``drop_last="auto"`` means ``shuffle``, but keeps the only batch there is.

    Raises `OptionError` naming the option that cannot work.
    """
    if not isinstance(shuffle, bool):
        raise OptionError("shuffle", repr(shuffle), "True or False")
    if not _is_count(world_size, least=1):
        raise OptionError("world_size", repr(world_size), "a whole number of at least 1")
    if not _is_count(rank, least=0) or rank >= world_size:
        raise OptionError("rank", repr(rank), f"a whole number from 0 to {world_size - 1} (world_size - 1)")
    if not isinstance(drop_last, bool) and drop_last != "auto":
        raise OptionError("drop_last", repr(drop_last), 'True, False or "auto"')
    global_batch = batch_size * world_size
    if drop_last is True and n_samples < global_batch:
        raise OptionError(
            "drop_last",
            "True",
            f"False: {n_samples} samples do not fill one batch of {global_batch}, none would be left",
        )
    drops = shuffle and n_samples >= global_batch if drop_last == "auto" else bool(drop_last)
    return RankPlan(n_samples, batch_size, int(rank), int(world_size), drops)


def describe(plan: RankPlan) -> str:
    """``drop_last`` for the report, with what it leaves out."""
    if not plan.drop_last:
        return "False"
    return f"True ({plan.unseen_per_epoch} of {plan.n_samples} samples unseen an epoch, others each time)"


def _is_count(value: object, *, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least
