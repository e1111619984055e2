"""Processes that fill a cache are killed at random moments: it stays sound, and training goes on exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioloader.cli.main import main
from aioloader.serve import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.cache_kills import N, fill_under_fire, read_after_fire
from tests.storage.cache_rig import bodies

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.fault(row=28, stores=("http",))
def test_ten_kills_leave_a_sound_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = bodies(N, 40_000)
    bucket, cache = tmp_path / "bucket", tmp_path / "cache"
    bucket.mkdir()
    for key, body in objects.items():
        (bucket / key).write_bytes(body)
    with serve_in_thread(bucket, Manners(latency_s=0.01)) as server:
        seen = fill_under_fire(server.url, cache, kills=10, seed=1)
        assert seen.checked > 0
        for use_multiprocessing in (False, True):
            counts = read_after_fire(server.url, cache, objects, use_multiprocessing=use_multiprocessing)
            assert counts.hits > 0
    assert main(["cache", "verify", str(cache)]) == 0
    assert "sound, 0 spoilt" in capsys.readouterr().out
