"""What lies below a web address: the index, directory pages, and what is neither."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from aioloader.errors import AccessDeniedError, ConnectFailedError, DatasetError, ManifestError, ObjectNotFoundError
from aioloader.storage.http.index import MAX_LINE_BYTES, parse_index
from aioloader.storage.http.listing import MAX_DEPTH, list_objects
from aioloader.storage.http.pages import Page, parse_page
from aioloader.storage.http.store import HTTPStore
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from tests.storage.conftest import BucketFactory, Closing, FileServer

NGINX = b"""<html>\r
<head><title>Index of /train/</title></head>\r
<body>\r
<h1>Index of /train/</h1><hr><pre><a href="../">../</a>\r
<a href="cat/">cat/</a>                                               10-Oct-2026 10:00                   -\r
<a href="a%20very%3Flong.jpg">a very?long..&gt;</a>      10-Oct-2026 10:00               12345\r
<a href="empty.bin">empty.bin</a>                                          10-Oct-2026 10:00                   0\r
<a href="big.bin">big.bin</a>                                          10-Oct-2026 10:00                 12K\r
</pre><hr></body>\r
</html>\r
"""

APACHE = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html><head><title>Index of /train</title></head><body><h1>Index of /train</h1>
<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td><a href="cat/">cat/</a></td><td align="right">2026-10-10 10:00  </td><td align="right">  - </td></tr>
<tr><td><a href="x.jpg">x.jpg</a></td><td align="right">2026-10-10 10:00  </td><td align="right">1.2K</td></tr>
<tr><td><a href="./y:z.jpg">y:z.jpg</a></td><td align="right">2026-10-10 10:00  </td><td align="right"> 97 </td></tr>
</table></body></html>
"""

PYTHON = b"""<!DOCTYPE HTML>
<html lang="en"><head><meta charset="utf-8"><title>Directory listing for /train/</title></head>
<body><h1>Directory listing for /train/</h1><hr><ul>
<li><a href="cat/">cat/</a></li><li><a href="link.jpg">link.jpg@</a></li><li><a href="%C3%BC.jpg">\xc3\xbc.jpg</a></li>
</ul><hr></body></html>"""

HOSTILE = b"""<title>Index of /train/</title><pre>
<a href="/etc/passwd">a</a> <a href="/train/../../secret">b</a> <a href="..">c</a> <a href="./">d</a>
<a href="https://evil.test/train/x.jpg">e</a> <a href="//evil.test/train/x.jpg">f</a> <a href="sub/deep/x.jpg">g</a>
<a href="javascript:alert(1)">h</a> <a href="#top">i</a> <a>j</a> <a href="">k</a> <a href="%2e%2e/">l</a>
<a href="a%2fb">m</a> <a href="/train/ok.jpg">n</a> <a href="http://host/train/ok2.jpg">o</a> <a href="ok.jpg">p</a>
"""


async def test_nginx_pages_give_names_and_exact_sizes() -> None:
    assert await parse_page(NGINX, "", "http://host/train/") == Page(
        ("cat/",),
        (
            ObjectMeta(key="a very?long.jpg", size_bytes=12345),
            ObjectMeta(key="big.bin"),
            ObjectMeta(key="empty.bin", size_bytes=0),
        ),
    )


async def test_apache_pages_give_names_and_no_rounded_size() -> None:
    assert await parse_page(APACHE, "", "http://host/train/") == Page(
        ("cat/",), (ObjectMeta(key="x.jpg"), ObjectMeta(key="y:z.jpg", size_bytes=97))
    )


async def test_pages_of_python_give_names() -> None:
    assert await parse_page(PYTHON, "dog/", "http://host/train/") == Page(
        ("dog/cat/",), (ObjectMeta(key="dog/link.jpg"), ObjectMeta(key="dog/ü.jpg"))
    )


async def test_links_that_lead_elsewhere_are_left_out() -> None:
    page = await parse_page(HOSTILE, "", "http://host/train/")
    assert page == Page((), (ObjectMeta(key="ok.jpg"), ObjectMeta(key="ok2.jpg")))


async def test_a_page_that_is_no_listing_is_told_apart() -> None:
    assert await parse_page(b"<title>My cats</title><a href='cat.jpg'>a cat</a>", "", "http://host/") is None
    assert await parse_page(b"\xff\xd8\xff\xe0 a jpeg", "", "http://host/") is None


async def test_the_index_gives_keys_sizes_and_etags() -> None:
    lines = [
        '{"key": "b.jpg", "size": 5, "etag": "\\"x\\""}',
        "",
        "  \r",
        '{"key": "a/ü.jpg", "label": 3}\r',
        '{"key": "c", "size": null}',
    ]
    body = "\n".join(lines).encode()
    assert [meta async for meta in parse_index(body, "http://host/index.jsonl")] == [
        ObjectMeta(key="b.jpg", size_bytes=5, etag='"x"'),
        ObjectMeta(key="a/ü.jpg"),
        ObjectMeta(key="c"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[" * 3000, "not JSON"),
        ("\xff", "not JSON"),
        ("[1]", "holds a list"),
        ("{}", "no key"),
        ('{"key": ""}', "no key"),
        ('{"key": 5}', "no key"),
        ('{"key": "../up.jpg"}', "segment"),
        ('{"key": "first.jpg"}', "on line 1 already"),
        ('{"key": "a", "size": -1}', "number of bytes"),
        ('{"key": "a", "size": 1.5}', "number of bytes"),
        ('{"key": "a", "size": true}', "number of bytes"),
        ('{"key": "a", "etag": 5}', "etag is a int"),
        (json.dumps({"key": "x" * MAX_LINE_BYTES}), "bytes; at most"),
    ],
    ids=lambda text: text[:20],
)
async def test_a_bad_line_of_the_index_is_named_by_its_number(line: str, words: str) -> None:
    body = b'{"key": "first.jpg"}\n\n' + line.encode("latin-1") + b"\n"
    with pytest.raises(ManifestError, match=words) as caught:
        _ = [meta async for meta in parse_index(body, "http://host/index.jsonl")]
    assert "http://host/index.jsonl line 3" in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_neither_index_nor_pages_says_what_to_do(bucket: BucketFactory, closing: Closing) -> None:
    async with bucket({"a.bin": b"x"}, index=False) as server:
        with pytest.raises(DatasetError, match=r"index\.jsonl.*autoindex on.*al\.manifest"):
            _ = [meta async for meta in closing(HTTPStore().at(server.url)).list()]


async def test_a_folder_with_a_home_page_instead_of_a_listing_is_named() -> None:
    pages = {"": b'<title>Index of /</title><a href="cat/">cat/</a>', "cat/": b"<title>Cats!</title>"}

    async def fetch(key: str) -> bytes:
        if key == "index.jsonl":
            return await _missing(key)
        return pages[key]

    with pytest.raises(DatasetError, match="http://host/cat/ is no directory page"):
        _ = [meta async for meta in list_objects(fetch, "http://host/", "")]


async def _missing(key: str) -> bytes:
    raise ObjectNotFoundError("the server answered 404 Not Found", f"http://host/{key}")


async def test_a_link_to_its_own_parent_does_not_list_for_ever() -> None:
    async def fetch(key: str) -> bytes:
        if key == "index.jsonl":
            return await _missing(key)
        return b'<title>Index of /</title><a href="loop/">loop/</a><a href="x.jpg">x.jpg</a>'

    seen: list[str] = []

    async def collect() -> None:
        async for meta in list_objects(fetch, "http://host/", ""):
            seen.append(meta.key)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(DatasetError, match="may link to its own parent"):
        await collect()
    assert len(seen) == MAX_DEPTH + 1


async def test_only_folders_that_may_hold_the_prefix_are_asked_for(python_server: FileServer, closing: Closing) -> None:
    objects = dict.fromkeys(["cat/a/1.bin", "cat/b/2.bin", "dog/3.bin"], b"x")
    store = closing(HTTPStore().at(python_server.publish(objects)))
    assert [meta.key async for meta in store.list("cat/b")] == ["cat/b/2.bin"]


async def test_a_failed_listing_is_told_as_one_with_its_reason(bucket: BucketFactory, closing: Closing) -> None:
    async def deny(request: web.Request) -> web.StreamResponse:
        raise web.HTTPForbidden

    async with bucket({}, answer=deny) as server:
        with pytest.raises(AccessDeniedError, match=r"list failed.*credentials"):
            _ = [meta async for meta in closing(HTTPStore().at(server.url)).list()]
    with pytest.raises(ConnectFailedError, match="server runs") as caught:
        _ = [meta async for meta in closing(HTTPStore().at(server.url)).list()]
    assert caught.value.stage == "list"
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_index_wins_over_pages_and_is_asked_for_with_the_query(
    bucket: BucketFactory, closing: Closing
) -> None:
    async with bucket({"b/2.bin": b"22", "a/1.bin": b"1"}) as server:
        store = closing(HTTPStore().at(server.url + "?sig=s"))
        listed = [(meta.key, meta.size_bytes) async for meta in store.list()]
    assert listed == [("b/2.bin", 2), ("a/1.bin", 1)]
    assert [request.raw_path for request in server.requests] == ["/root/index.jsonl?sig=s"]


@pytest.mark.nginx
async def test_nginx_without_pages_says_what_to_do(nginx_server: FileServer, closing: Closing) -> None:
    store = closing(HTTPStore().at(nginx_server.url + "closed/"))
    with pytest.raises(DatasetError, match=r"403 Forbidden.*autoindex on"):
        _ = [meta async for meta in store.list()]
