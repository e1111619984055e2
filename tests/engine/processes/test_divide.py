"""Shares of a budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioloader.engine.processes.pool import divide


@given(total=st.integers(0, 10_000), parts=st.integers(1, 64))
def test_shares_add_up_and_differ_by_at_most_one_the_larger_first(total: int, parts: int) -> None:
    shares = divide(total, parts)
    assert sum(shares) == total
    assert len(shares) == parts
    assert shares == sorted(shares, reverse=True)
    assert shares[0] - shares[-1] <= 1
    assert min(shares) >= 1 or total < parts
