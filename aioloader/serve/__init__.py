"""A local bucket with bad manners: a folder over HTTP, with latency, thin bandwidth, refusals on demand."""

from __future__ import annotations

from aioloader.serve.bucket import LocalBucket as LocalBucket
from aioloader.serve.manners import Manners as Manners
from aioloader.serve.tally import BucketStatistics as BucketStatistics
from aioloader.serve.thread import serve_in_thread as serve_in_thread

__all__ = ["BucketStatistics", "LocalBucket", "Manners", "serve_in_thread"]
