"""How requests are divided among worker processes: nobody gets more than the user said, nobody nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from aioloader.engine.processes.shares import divide, shares, trimmed

if TYPE_CHECKING:
    from aioloader.engine.processes.pool_stream import PoolStream


@dataclass(frozen=True)
class Wish:
    """What a stream asks for."""

    number: int
    origin: str
    concurrency: int
    workers: int
    body_bytes: int = 1000
    body_limit: int | None = None


@given(total=st.integers(0, 10_000), parts=st.integers(1, 64))
def test_parts_add_up_and_differ_by_at_most_one_the_larger_first(total: int, parts: int) -> None:
    found = divide(total, parts)
    assert sum(found) == total
    assert len(found) == parts
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] <= 1
    assert min(found) >= 1 or total < parts


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 100))
def test_what_is_trimmed_leaves_everybody_something(wanted: list[int], total: int) -> None:
    found = trimmed(wanted, total)
    assert all((after > 0) == (before > 0) and after <= before for after, before in zip(found, wanted, strict=True))
    assert sum(found) <= max(total, sum(want > 0 for want in wanted))


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 64), st.integers(1, 4)), min_size=1, max_size=4),
    st.integers(4, 6),
)
def test_each_stream_keeps_its_own_number_and_each_origin_its_largest(
    wishes: list[tuple[str, int, int]], processes: int
) -> None:
    streams = [Wish(number, *wish) for number, wish in enumerate(wishes)]
    found = shares(cast("list[PoolStream]", streams), processes)
    assert len(found) == processes
    for stream in streams:
        own = [share["streams"].get(stream.number, 0) for share in found]
        assert sum(own) == stream.concurrency
        assert sum(some > 0 for some in own) == min(stream.workers, stream.concurrency)
    for origin in {stream.origin for stream in streams}:
        some = [stream for stream in streams if stream.origin == origin]
        together = [share["origins"].get(origin, 0) for share in found]
        at_least_one_each = max(min(stream.workers, stream.concurrency) for stream in some)
        assert sum(together) <= max(*(stream.concurrency for stream in some), at_least_one_each, 1)
        assert all(
            share["origins"].get(origin, 0) > 0 for share in found if any(s.number in share["streams"] for s in some)
        )


def test_a_small_loader_beside_a_large_one_of_the_same_origin() -> None:
    streams = cast("list[PoolStream]", [Wish(1, "a", 4, 2), Wish(2, "a", 64, 2)])
    found = shares(streams, 2)
    assert [share["streams"] for share in found] == [{1: 2, 2: 32}, {1: 2, 2: 32}]
    assert [share["origins"] for share in found] == [{"a": 32}, {"a": 32}]


def test_one_worker_with_many_requests_beside_four_with_few() -> None:
    streams = cast("list[PoolStream]", [Wish(1, "a", 64, 1), Wish(2, "a", 4, 4)])
    assert [share["origins"]["a"] for share in shares(streams, 4)] == [61, 1, 1, 1]
