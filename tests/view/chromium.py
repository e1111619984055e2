"""Opens a page in Debian's Chromium, headless, over the DevTools protocol, and says what it did and what is seen."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_ANSWER_WITHIN_S = 30
_SWITCHES = (
    "--headless",
    "--hide-scrollbars",  # else a window of 400 px has 385
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-sandbox",  # it refuses to run as root with one, and the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-pings",
    "--mute-audio",
)

# Text nodes with letters, as they are rendered: how large, where, and inside which chart.
_SEEN_TEXTS = """
(() => {
  const seen = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || ["TITLE", "STYLE", "SCRIPT"].includes(parent.tagName.toUpperCase())) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    let {left, top, right, bottom} = (parent.closest("text") || range).getBoundingClientRect();
    for (let around = parent; around; around = around.parentElement) {
      if (around instanceof SVGElement || getComputedStyle(around).overflowX === "visible") continue;
      const cut = around.getBoundingClientRect();
      left = Math.max(left, cut.left), right = Math.min(right, cut.right);
    }
    if (right <= left || bottom <= top) continue;
    const matrix = parent.getScreenCTM ? parent.getScreenCTM() : {a: 1};
    const svg = parent.closest("svg"), outer = svg && svg.getBoundingClientRect();
    const plots = [...document.querySelectorAll("svg[role=img]")];
    seen.push({
      text: node.data.trim(), pixels: parseFloat(getComputedStyle(parent).fontSize) * matrix.a,
      left, top, right, bottom,
      chart: svg ? plots.indexOf(svg) : -1,
      inside: !svg || (left >= outer.left - .5 && right <= outer.right + .5
        && top >= outer.top - .5 && bottom <= outer.bottom + .5),
    });
  }
  return seen;
})()
"""


@dataclass(frozen=True, slots=True)
class SeenText:
    """Text as rendered: its letters' size and its box in CSS pixels, without what is cut off.

    ``chart`` numbers the chart it is in, -1 for none; ``inside`` says whether it stays within that chart."""

    text: str
    pixels: float
    left: float
    top: float
    right: float
    bottom: float
    chart: int
    inside: bool

    def overlaps(self, other: SeenText) -> bool:
        """Whether the two boxes share more than a hair."""
        return (
            min(self.right, other.right) - max(self.left, other.left) > 1
            and min(self.bottom, other.bottom) - max(self.top, other.top) > 2
        )


@dataclass
class Visit:
    """A page that was opened: what it asked for and complained of so far, and how to ask it."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    """Every address that was requested, the page's own first."""
    complaints: list[str] = field(default_factory=list)
    """Warnings and errors in the console and the log, and exceptions."""
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def evaluate(self, expression: str) -> Any:
        """The value of ``expression`` in the page."""
        answer = await self.browser.call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True}, self.session
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def overflow(self) -> float:
        """By how many pixels the document is wider than the window; 0 or less is right."""
        return float(await self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    async def texts(self) -> list[SeenText]:
        """All text that is seen."""
        return [SeenText(**one) for one in await self.evaluate(_SEEN_TEXTS)]

    async def screenshot(self) -> bytes:
        """The whole page, as PNG."""
        answer = await self.browser.call(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True}, self.session
        )
        return base64.b64decode(answer["data"])

    def heard(self, method: str, what: dict[str, Any]) -> None:
        """An event of this page."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(what["request"]["url"])
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "warning", "assert"):
                self.complaints.append(f"{what['type']}: {[one.get('value') for one in what['args']]}")
            case "Runtime.exceptionThrown":
                self.complaints.append(f"exception: {what['exceptionDetails'].get('text')}")
            case "Log.entryAdded" if what["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{what['entry']['level']}: {what['entry']['text']}")
            case "Page.loadEventFired":
                self.loaded.set()
            case _:
                pass


class Browser:
    """A running Chromium. Made by `running`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._visits: dict[str, Visit] = {}

    async def listen(self) -> None:
        """Hand out what Chromium says, until it hangs up."""
        async for message in self._socket:
            what = message.json()
            if "id" in what:
                asked = self._asked.pop(what["id"], None)
                if asked is not None and not asked.done():
                    asked.set_result(what)
            elif (visit := self._visits.get(what.get("sessionId", ""))) is not None:
                visit.heard(what["method"], what["params"])

    async def call(self, method: str, params: dict[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """The result of one method of the protocol."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "method": method, "params": params or {}}
        await self._socket.send_json({**request, "sessionId": session} if session else request)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            answer = await self._asked[number]
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def visit(self, page: Path, width: int, *, height: int = 900, is_dark: bool = False) -> Visit:
        """``page`` opened in a window of that size; returns once it is loaded."""
        target = (await self.call("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        session: str = attached["sessionId"]
        visit = self._visits[session] = Visit(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable", {}, session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", size, session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
        visit.loaded.clear()
        await self.call("Page.navigate", {"url": page.as_uri()}, session)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await visit.loaded.wait()
        await visit.evaluate("document.fonts.ready.then(() => 1)")
        return visit


@asynccontextmanager
async def running(profile: Path) -> AsyncIterator[Browser]:
    """A Chromium with its files in ``profile``; when the block is left, none of its processes is."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_SWITCHES,
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "HOME": str(profile)},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            while not (found := re.search(rb"DevTools listening on (ws://\S+)", await process.stderr.readline())):
                assert not process.stderr.at_eof(), "Chromium did not start"
        drain = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as client, client.ws_connect(found[1].decode(), max_msg_size=0) as socket:
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                with suppress(Exception):  # it may be gone, or hang: it is killed below
                    await browser.call("Browser.close")
                    await asyncio.wait_for(listening, _ANSWER_WITHIN_S)
                listening.cancel()
        await asyncio.wait([drain], timeout=_ANSWER_WITHIN_S)
    finally:
        _end(process.pid)
        await process.wait()


def _end(group: int) -> None:
    """Whatever of the process group is still there is killed."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        os.killpg(group, signal.SIGKILL)
