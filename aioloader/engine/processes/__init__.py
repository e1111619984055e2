"""Worker processes: plain child interpreters that run the same `Worker` and write into shared slabs."""

from __future__ import annotations
