"""index.jsonl and the HTML pages."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aioloader.serve import LocalBucket

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.conftest import Ask


def entries(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().splitlines()]


def links(body: bytes) -> list[str]:
    return [unquote(html.unescape(link)) for link in re.findall(r'href="([^"]*)"', body.decode())]


async def test_the_index_lists_every_file_by_sorted_key(folder: Path, files: dict[str, bytes], ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        listed = entries((await ask(bucket, "index.jsonl")).body)
        etags = [(await ask(bucket, key, "HEAD")).headers["ETag"] for key in files]
    assert [entry["key"] for entry in listed] == sorted(files, key=str.encode)
    assert [entry["size"] for entry in listed] == [len(files[entry["key"]]) for entry in listed]
    assert [entry["etag"] for entry in listed] == etags


async def test_every_folder_has_an_index_of_its_own(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        listed = entries((await ask(bucket, "train/cat/index.jsonl")).body)
        assert [entry["key"] for entry in listed] == ["1.png", "100%41.png", "a b+c&d.png"]
        assert (await ask(bucket, "missing/index.jsonl")).status == 404
        assert (await ask(bucket, "large.bin/index.jsonl")).status == 404


async def test_an_index_that_exists_is_the_one_that_is_served(folder: Path, ask: Ask) -> None:
    (folder / "train/index.jsonl").write_bytes(b"my own\n")
    async with LocalBucket(folder) as bucket:
        assert (await ask(bucket, "train/index.jsonl")).body == b"my own\n"
        listed = entries((await ask(bucket, "index.jsonl")).body)
    assert "train/index.jsonl" in [entry["key"] for entry in listed]


async def test_the_index_leaves_out_what_cannot_be_fetched(folder: Path, files: dict[str, bytes], ask: Ask) -> None:
    (folder / "outside").symlink_to("/etc/hostname")
    (folder / "loop").symlink_to(".")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "inside.png").symlink_to("train/cat/1.png")
    (folder / "\udcff.png").write_bytes(b"a name that is not UTF-8")
    async with LocalBucket(folder) as bucket:
        keys = [entry["key"] for entry in entries((await ask(bucket, "index.jsonl")).body)]
    assert set(keys) == {*files, "inside.png"}


async def test_a_page_links_to_the_folders_entries(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        assert links((await ask(bucket, "")).body) == ["empty.bin", "large.bin", "train/"]
        assert links((await ask(bucket, "train/")).body) == ["../", "cat/", "dog/"]
        dogs = await ask(bucket, "train/dog/")
    assert dogs.headers["Content-Type"] == "text/html; charset=utf-8"
    assert links(dogs.body) == ["../", "a:b?c#d.png", "u\u0308\u00fc \u72ac.png"]


async def test_a_page_escapes_names(folder: Path, ask: Ask) -> None:
    (folder / "train/<script>").mkdir()
    async with LocalBucket(folder) as bucket:
        for key in ("train/", "train/<script>/"):
            assert b"<script>" not in (await ask(bucket, key)).body


async def test_a_page_shows_exact_sizes(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        page = (await ask(bucket, "")).body.decode()
    assert re.search(r"large\.bin</a>\s+\d\d-\w{3}-\d{4} \d\d:\d\d\s+768000\n", page)


async def test_a_folder_without_its_slash_redirects(folder: Path, ask: Ask) -> None:
    (folder / "a b").mkdir()
    async with LocalBucket(folder) as bucket:
        answer = await ask(bucket, "train/cat")
        assert (answer.status, answer.headers["Location"]) == (301, "./cat/")
        assert (await ask(bucket, "a b")).headers["Location"] == "./a%20b/"
