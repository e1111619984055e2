"""Samples that are parts of one large object: read in order, neighbours share requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.serve import Manners, serve_in_thread
from tests.loader.conftest import ASKED_ONCE

if TYPE_CHECKING:
    from pathlib import Path

N, PART, BATCH_SIZE = 640, 1000, 16
BODY = np.random.default_rng(7).bytes(N * PART)


@pytest.mark.parametrize("use_multiprocessing", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_part_arrives_once(use_multiprocessing: bool, shuffle: bool, tmp_path: Path) -> None:
    (tmp_path / "all.bin").write_bytes(BODY)
    rows = [{"key": "all.bin", "label": number, "offset": number * PART, "length": PART} for number in range(N)]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "shuffle": shuffle, "seed": 3, "concurrency": 32, "workers": 2}
    options["retry"] = ASKED_ONCE
    with (
        serve_in_thread(tmp_path, Manners(latency_s=0.02)) as server,
        al.Loader(
            al.from_samples(rows, root=server.url),
            decode=al.RawDecoder(shape=(PART,)),
            use_multiprocessing=use_multiprocessing,
            **options,
        ) as loader,
    ):
        seen = [
            (int(index), bytes(part))
            for batch in loader
            for index, part in zip(batch.sample_ids, batch[0], strict=True)
        ]
        assert sorted(seen) == [(number, BODY[number * PART : (number + 1) * PART]) for number in range(N)]
        # In order those in flight come by few requests; shuffled, few of them lie side by side.
        assert server.requests["GET", "all.bin"] <= (N if shuffle else N / 2)
