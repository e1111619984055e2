"""Where work runs: fetchers on the loop, decode lanes in threads, steps in strict order to one consumer."""

from __future__ import annotations
