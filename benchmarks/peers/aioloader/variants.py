"""aioloader is raced as it comes: the one knob that may be set by hand is ``use_multiprocessing``.

Where a row sets more, its name says so. ``transport`` is the HTTP client behind the store.
"""

from __future__ import annotations

from typing import Any


def variants(**options: Any) -> list[dict[str, Any]]:
    """One: there is no sweep."""
    return [options]
