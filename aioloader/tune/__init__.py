"""What "auto" means: the knobs, resolved to numbers with a reason each."""

from __future__ import annotations
