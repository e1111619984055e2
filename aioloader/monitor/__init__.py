"""Counters and histograms at every arrow of a sample's way, and the sentences made of them."""

from __future__ import annotations
