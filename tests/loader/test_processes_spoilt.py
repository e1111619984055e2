"""A decoder that closes or writes to its process's descriptors cannot harm the parent: its process is replaced."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aioloader import errors
from tests.loader.deaths_decoders import Doing
from tests.loader.deaths_kills import make_loader, samples_in_memory

N = 96

WAYS = [
    "close descriptors",
    "a frame of 4 GB",
    "many empty frames",
    "a short record",
    "records of samples that were done before",
    "deep JSON",
    "noise",
]

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the decoder finds its sockets in /proc")


@pytest.mark.parametrize("order", ["strict", "any"])
@pytest.mark.parametrize("way", WAYS)
def test_a_decoder_that_spoils_its_process_is_skipped_or_ends_the_epoch_with_a_sentence(
    way: str, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"on_error": "skip", "max_error_rate": 0.5, "order": order, "stall_timeout_s": 40}
    options |= {"shuffle": False, "workers": 2, "decode": Doing(way, (20,))}
    with caplog.at_level(logging.WARNING), make_loader(samples_in_memory(N), **options) as loader:
        try:
            batches = list(loader)
        except errors.WorkersFailedError as exc:  # it was not in the decoder any more when its process died
            assert "worker processes died one after another" in str(exc)  # noqa: PT017
            return
        assert sorted(np.concatenate([batch.sample_ids for batch in batches]).tolist()) == list(range(N))
        assert [entry.sample_id for entry in loader.skipped] == [20]
        assert "the worker process that decoded it died" in loader.skipped[0].error
    assert len(caplog.records) < 30
