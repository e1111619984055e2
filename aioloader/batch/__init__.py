"""A step's memory: one aligned slab for all its fields, lent to the consumer and taken back."""

from __future__ import annotations
