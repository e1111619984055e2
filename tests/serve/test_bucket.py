"""Files over real connections: bytes, headers, conditions, and nothing outside the folder."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioloader.errors import OptionError
from aioloader.serve import LocalBucket, Manners, serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.serve.conftest import Ask, RawStatus, Until


async def test_every_key_gives_its_bytes(folder: Path, files: dict[str, bytes], ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        for key, body in files.items():
            answer = await ask(bucket, key)
            assert (answer.status, answer.body) == (200, body), key
            assert answer.headers["Content-Length"] == str(len(body))


async def test_head_gives_the_headers_of_get_and_no_body(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        for key in ("train/cat/1.png", "large.bin", "empty.bin", "index.jsonl", "train/"):
            got, head = await ask(bucket, key), await ask(bucket, key, "HEAD")
            assert head.body == b""
            assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


async def test_the_content_type_follows_the_name(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        assert (await ask(bucket, "train/cat/1.png")).headers["Content-Type"] == "image/png"
        assert (await ask(bucket, "large.bin")).headers["Content-Type"] == "application/octet-stream"


# The folder is only read: examples may share it.
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    first=st.integers(0, 800_000),
    length=st.one_of(st.integers(1, 1000), st.integers(1, 800_000)),
    form=st.sampled_from(["closed", "open", "suffix"]),
)
def test_ranges_are_slices_of_the_file(
    folder: Path, files: dict[str, bytes], first: int, length: int, form: str
) -> None:
    body = files["large.bin"]
    header, expected = {
        "closed": (f"bytes={first}-{first + length - 1}", body[first : first + length]),
        "open": (f"bytes={first}-", body[first:]),
        "suffix": (f"bytes=-{length}", body[-length:]),
    }[form]

    async def get(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Range": header}) as response:
            got = await response.read()
            if expected:
                assert (response.status, got) == (206, expected)
                assert response.headers["Content-Range"].endswith(f"/{len(body)}")
            else:
                assert response.status == 416
                assert response.headers["Content-Range"] == f"bytes */{len(body)}"

    with serve_in_thread(folder) as bucket:
        asyncio.run(get(bucket.url + "large.bin"))


async def test_content_range_names_the_last_byte_inclusively(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        answer = await ask(bucket, "train/cat/1.png", Range="bytes=2-4")
    assert answer.status == 206
    assert answer.headers["Content-Range"] == "bytes 2-4/9"
    assert answer.body == b"rst"


async def test_if_match_with_another_tag_is_412(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        etag = (await ask(bucket, "train/cat/1.png")).headers["ETag"]
        assert (await ask(bucket, "train/cat/1.png", If_Match=etag)).status == 200
        assert (await ask(bucket, "train/cat/1.png", If_Match='"other"')).status == 412


async def test_if_none_match_with_the_same_tag_is_304_without_a_body(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        etag = (await ask(bucket, "train/cat/1.png")).headers["ETag"]
        answer = await ask(bucket, "train/cat/1.png", If_None_Match=etag)
        assert (answer.status, answer.body) == (304, b"")
        assert (await ask(bucket, "train/cat/1.png", If_None_Match='"other"')).status == 200


async def test_if_range_with_another_tag_gets_the_whole(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        answer = await ask(bucket, "train/cat/1.png", Range="bytes=0-1", If_Range='"other"')
    assert (answer.status, answer.body) == (200, b"first cat")


async def test_the_tag_changes_with_the_file(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        before = (await ask(bucket, "train/cat/1.png")).headers["ETag"]
        os.utime(folder / "train/cat/1.png", ns=(1, 1))
        touched = (await ask(bucket, "train/cat/1.png")).headers["ETag"]
        (folder / "train/cat/1.png").write_bytes(b"longer than before")
        os.utime(folder / "train/cat/1.png", ns=(1, 1))
        grown = (await ask(bucket, "train/cat/1.png")).headers["ETag"]
    assert len({before, touched, grown}) == 3


async def test_other_methods_are_refused(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        for method in ("PUT", "POST", "DELETE"):
            answer = await ask(bucket, "train/cat/1.png", method)
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert (folder / "train/cat/1.png").read_bytes() == b"first cat"


@pytest.mark.parametrize(
    "target",
    [
        b"/missing.png",
        b"/../secret.txt",
        b"/train/../../secret.txt",
        b"/%2e%2e/secret.txt",
        b"/train/%2e%2e%2f%2e%2e%2fsecret.txt",
        b"/train/../train/cat/1.png",
        b"/./train/cat/1.png",
        b"//train/cat/1.png",
        b"/train//cat/1.png",
        b"/train/cat/1.png/",
        b"/train/cat/1.png%00",
        b"/%ff%fe",
        b"/" + b"a" * 300,
        b"/link.txt",
        b"/linked/secret.txt",
        b"/loop/1.png",
        b"/pipe",
    ],
)
async def test_nothing_but_files_of_the_folder_is_found(folder: Path, raw_status: RawStatus, target: bytes) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    async with LocalBucket(folder) as bucket:
        assert await raw_status(bucket, target) == 404


async def test_links_that_stay_inside_are_followed(folder: Path, ask: Ask) -> None:
    (folder / "again.png").symlink_to(folder / "train/cat/1.png")
    (folder / "cats").symlink_to("train/cat")
    async with LocalBucket(folder) as bucket:
        assert (await ask(bucket, "again.png")).body == b"first cat"
        assert (await ask(bucket, "cats/1.png")).body == b"first cat"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_403(folder: Path, ask: Ask) -> None:
    (folder / "large.bin").chmod(0)
    (folder / "train/cat/1.png").chmod(0)
    async with LocalBucket(folder) as bucket:
        assert (await ask(bucket, "large.bin")).status == 403
        assert (await ask(bucket, "train/cat/1.png")).status == 403


def cut_short(path: Path) -> None:
    os.truncate(path, 0)


def written_over(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def replaced(path: Path) -> None:
    (path.parent / "new").write_bytes(bytes(path.stat().st_size))
    (path.parent / "new").rename(path)


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [cut_short, written_over, replaced, deleted])
async def test_a_file_that_changes_while_it_is_sent_cuts_the_connection(
    folder: Path, ask: Ask, caplog: pytest.LogCaptureFixture, until: Until, change: Callable[[Path], None]
) -> None:
    # The first 256 kB take 0.25 s: they were read before the file changes, the rest was not.
    async with LocalBucket(folder, Manners(bandwidth_bytes_per_s=1e6)) as bucket:
        request = asyncio.create_task(ask(bucket, "large.bin"))
        await until(lambda: bucket.statistics().body_bytes > 0)
        change(folder / "large.bin")
        with pytest.raises(aiohttp.ClientPayloadError):
            await request
    assert "large.bin could not be sent to its end" in caplog.text


async def test_a_root_behind_a_link_is_served(folder: Path, ask: Ask) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    async with LocalBucket(link) as bucket:
        assert (await ask(bucket, "train/cat/1.png")).body == b"first cat"


async def test_a_folder_that_does_not_exist_is_an_option_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"folder=.*missing.*expected an existing folder"):
        await LocalBucket(tmp_path / "missing").__aenter__()


async def test_a_taken_port_is_an_option_error(folder: Path) -> None:
    async with LocalBucket(folder) as bucket:
        port = urlsplit(bucket.url).port
        assert port is not None
        with pytest.raises(OptionError, match="port 0 takes any"):
            await LocalBucket(folder, port=port).__aenter__()


def test_the_thread_ends_and_the_port_is_free_again(folder: Path) -> None:
    with serve_in_thread(folder) as bucket:
        port = urlsplit(bucket.url).port
        assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_error_on_entry_is_raised_in_the_caller(folder: Path) -> None:
    with pytest.raises(OptionError, match="host"), serve_in_thread(folder, host="192.0.2.1"):
        pass
