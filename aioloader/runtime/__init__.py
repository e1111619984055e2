"""The process's one background event loop, and daemon threads for calls that block."""

from __future__ import annotations
