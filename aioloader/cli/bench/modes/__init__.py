"""The ways to load that are compared, one a file; `catalogue` lists them without importing what they need."""

from __future__ import annotations
