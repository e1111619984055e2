"""``aioloader bench``: other ways to load, and this one, on the user's own data."""

from __future__ import annotations
