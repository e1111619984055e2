"""The questions, one a file."""

from __future__ import annotations

from rows.fit import ROW as E
from rows.jpegs_from_disk import ROW as C
from rows.jpegs_over_http import ROW as B
from rows.large_photos import ROW as G
from rows.small_objects import ROW as A
from rows.tiny_samples import ROW as F

ROWS = {row.letter: row for row in (A, B, C, E, F, G)}
"""By letter; D (tar shards) comes with shards."""
