"""Chromium, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.view.chromium import CHROMIUM, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.view.chromium import Browser


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    """A running one, for this test alone."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    async with running(tmp_path / "chromium") as browser:
        yield browser
