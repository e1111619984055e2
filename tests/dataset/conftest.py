"""A web server with a few images, and trees of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Mapping[str, bytes]], Awaitable[str]]]:
    """``await serve({"key": b"body"})``: the address, ending with ``/``, of a server with these objects."""
    servers: list[TestServer] = []

    async def start(objects: Mapping[str, bytes]) -> str:
        async def answer(request: web.Request) -> web.Response:
            body = objects.get(request.match_info["key"])
            return web.Response(status=404) if body is None else web.Response(body=body)

        app = web.Application()
        app.router.add_get("/{key:.+}", answer)
        server = TestServer(app, host="127.0.0.1")
        servers.append(server)
        await server.start_server()
        return str(server.make_url("/"))

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """``tree("cat/1.jpg", ...)``: a folder with files of these names, one byte longer each."""

    def make(*names: str) -> Path:
        for length, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * length)
        return tmp_path

    return make
