"""What exists: samples by key, with labels, sizes and a fingerprint; listed from a store or written down."""

from __future__ import annotations
