"""Which sample stands at which position of an epoch, on which rank, with which randomness. Pure functions."""

from __future__ import annotations
