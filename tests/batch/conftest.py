"""Layouts of a few fields."""

from __future__ import annotations

import numpy as np
import pytest

from aioloader.batch.layout import Layout
from aioloader.types import FieldSpec


@pytest.fixture
def layout() -> Layout:
    """Batches of 4: uint8 (3, 5) and an int64 label."""
    return Layout.plan((FieldSpec((3, 5), np.dtype(np.uint8)), FieldSpec((), np.dtype(np.int64))), 4)
