"""Ranks: together they read the epoch, apart they read nothing twice, and all take equal steps."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.order.ranks import RankPlan


def all_ranks(n: int, batch: int, world: int, *, drop_last: bool) -> list[RankPlan]:
    return [RankPlan(n, batch, rank, world, drop_last) for rank in range(world)]


def real_positions(plan: RankPlan) -> list[int]:
    found: list[int] = []
    for step in range(plan.steps):
        part = plan.slice(step)
        found += part.positions[: part.n_real].tolist()
    return found


GEOMETRIES = list(product(range(41), range(1, 8), range(1, 5)))


def test_without_drop_last_the_ranks_together_read_every_position_once() -> None:
    for n, batch, world in GEOMETRIES:
        plans = all_ranks(n, batch, world, drop_last=False)
        read = Counter(position for plan in plans for position in real_positions(plan))
        assert read == Counter(range(n)), (n, batch, world)
        assert {plan.unseen_per_epoch for plan in plans} == {0}


def test_with_drop_last_only_the_rest_of_the_last_global_batch_stays_unseen() -> None:
    for n, batch, world in GEOMETRIES:
        plans = all_ranks(n, batch, world, drop_last=True)
        unseen = n % (batch * world)
        read = Counter(position for plan in plans for position in real_positions(plan))
        assert read == Counter(range(n - unseen)), (n, batch, world)
        assert {plan.unseen_per_epoch for plan in plans} == {unseen}
        assert all(plan.slice(step).n_real == batch for plan in plans for step in range(plan.steps))


@pytest.mark.parametrize("drop_last", [True, False])
def test_every_rank_has_the_same_steps_and_the_same_slots_at_each(*, drop_last: bool) -> None:
    for n, batch, world in GEOMETRIES:
        plans = all_ranks(n, batch, world, drop_last=drop_last)
        steps = {plan.steps for plan in plans}
        assert len(steps) == 1, (n, batch, world)
        for step in range(steps.pop()):
            slots = {len(plan.slice(step).positions) for plan in plans} | {plan.slots(step) for plan in plans}
            assert len(slots) == 1, (n, batch, world, step)
        for plan in plans:
            assert plan.slots_per_epoch == sum(plan.slots(step) for step in range(plan.steps))


def test_stand_ins_are_positions_of_the_epoch_and_come_after_the_real_ones() -> None:
    for n, batch, world in GEOMETRIES:
        for plan in all_ranks(n, batch, world, drop_last=False):
            for step in range(plan.steps):
                part = plan.slice(step)
                assert part.positions.dtype == np.int64
                assert ((part.positions >= 0) & (part.positions < n)).all()
                assert 0 <= part.n_real <= len(part.positions)
                if step < plan.steps - 1:
                    assert part.n_real == batch


def test_one_rank_never_has_stand_ins() -> None:
    for n, batch in product(range(1, 41), range(1, 8)):
        plan = RankPlan(n, batch, 0, 1, drop_last=False)
        assert plan.slots_per_epoch == n
        assert all(plan.slice(step).n_real == plan.slots(step) for step in range(plan.steps))


@given(n=st.integers(1, 10**12), batch=st.integers(1, 4096), world=st.integers(1, 512), data=st.data())
def test_a_step_starts_where_the_design_says(n: int, batch: int, world: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, world - 1))
    plan = RankPlan(n, batch, rank, world, drop_last=False)
    step = data.draw(st.integers(0, plan.steps - 1))
    part = plan.slice(step)
    start = step * world * batch + rank * batch
    assert part.positions[: part.n_real].tolist() == list(range(start, min(start + plan.slots(step), n)))
