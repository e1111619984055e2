from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioloader.engine import shared
from aioloader.engine.shared import process_body_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def asked_anew() -> Iterator[None]:
    process_body_bytes.cache_clear()
    yield
    process_body_bytes.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(("available", "bound"), [(10**12, 512_000_000), (10**9, 250_000_000), (0, 1)])
def test_bodies_take_a_quarter_of_a_small_machine_and_no_more_of_a_large_one(
    available: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "available_bytes", lambda: available)
    assert process_body_bytes() == bound
