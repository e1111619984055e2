"""``aioloader cache warm``: all of a dataset is in the cache afterwards, or what is not is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import aioloader as al
from aioloader.cli.main import main
from aioloader.serve.thread import serve_in_thread
from tests.storage.cache_rig import entry_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aioloader.serve.bucket import LocalBucket

N, SIZE = 60, 5000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalBucket]:
    folder = tmp_path / "bucket"
    (folder / "cat").mkdir(parents=True)
    for number in range(N):
        (folder / f"cat/{number:02d}.jpg").write_bytes(bytes([number]) * SIZE)
    (folder / "list.csv").write_text("path\n" + "".join(f"cat/{number:02d}.jpg\n" for number in range(10)))
    with serve_in_thread(folder) as served:
        yield served


def decode(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def test_a_training_after_it_asks_the_bucket_for_nothing(
    server: LocalBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert main(["cache", "warm", str(cache), server.url]) == 0
    assert f"{cache}: 60 of 60 objects are in it, 0 of them were before" in capsys.readouterr().out
    assert len(entry_files(cache)) == N
    asked = server.requests.total()
    with al.Loader(al.image_folder(server.url), decode=decode, batch_size=10, cache=str(cache)) as loader:
        seen = [int(row[0]) for images, _ in loader for row in images]
    assert seen == list(range(N))
    assert server.requests.total() - asked == 1  # the listing


def test_what_is_there_is_not_fetched_again(
    server: LocalBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert main(["cache", "warm", str(cache), server.url + "list.csv", "--manifest"]) == 0
    assert "10 of 10 objects are in it, 0 of them were before" in capsys.readouterr().out
    assert main(["cache", "warm", str(cache), server.url + "list.csv", "--manifest"]) == 0
    assert "10 of 10 objects are in it, 10 of them were before" in capsys.readouterr().out


def test_one_that_is_full_says_so_and_ends_with_1(
    server: LocalBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "warm", str(tmp_path / "cache"), server.url, "--size", "100kB"]) == 1
    told = capsys.readouterr()
    assert "12 of 60 objects are in it" in told.out
    assert "it is full: give it more with --size" in told.out
    assert "limit: " in told.err  # its progress


def test_objects_larger_than_the_cache_are_named_as_that(
    server: LocalBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "warm", str(tmp_path / "cache"), server.url, "--size", "4kB"]) == 1
    assert "too large for it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["DIR", "FOLDER"], "expected a bucket or a web server: local files are not cached"),
        (["DIR", "URL", "--size", "1XB"], "cache_size='1XB': expected bytes"),
        (["FOLDER", "URL"], "cache="),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(
    server: LocalBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    places = {"DIR": str(tmp_path / "cache"), "FOLDER": str(tmp_path / "bucket"), "URL": server.url}
    assert main(["cache", "warm", *(places.get(word, word) for word in arguments)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1
