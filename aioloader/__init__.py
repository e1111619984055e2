"""aioloader streams training data from disk, HTTP(S), S3, GCS and Azure into Keras."""

from __future__ import annotations

__version__ = "0.1.0"
