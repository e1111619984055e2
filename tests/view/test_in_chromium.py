"""Pages as a browser shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.view.chromium import CHROMIUM, running
from tests.view.example_page import example_page
from tests.view.looking import look, problems

if TYPE_CHECKING:
    from pathlib import Path

    from tests.view.chromium import Browser

pytestmark = [pytest.mark.chromium]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    page = tmp_path / "example.html"
    page.write_text(example_page(), encoding="utf-8")
    return page


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
async def test_charts_are_readable(chromium: Browser, example: Path, width: int, is_dark: bool) -> None:
    visit = await look(chromium, example, width, is_dark=is_dark)
    background = await visit.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if is_dark else "rgb(255, 255, 255)")
    assert await visit.evaluate("document.querySelectorAll('svg[role=img]').length") > 20


async def test_a_table_that_is_too_wide_scrolls_inside_itself(chromium: Browser, example: Path) -> None:
    visit = await chromium.visit(example, 400)
    widths = "[...document.querySelectorAll('.scrolls')].map(one => [one.scrollWidth, one.clientWidth])"
    inner = await visit.evaluate(widths)
    assert max(wide for wide, _ in inner) > 400
    assert {narrow for _, narrow in inner} == {400 - 32}
    assert await visit.overflow() <= 0


async def test_a_plot_uses_the_width_that_there_is(chromium: Browser, example: Path) -> None:
    for width in (1280, 700, 400):
        visit = await chromium.visit(example, width)
        measured = (
            "(() => {const box = document.querySelector('%s').getBoundingClientRect(); return box.right - box.left})()"
        )
        drawing, figure = [await visit.evaluate(measured % name) for name in (".drawing", "figure")]
        assert figure == min(width, 1120) - 32
        assert drawing == figure - 82


BAD = """<!doctype html><meta charset="utf-8"><title>bad</title><body style="margin:0">
<div style="width:2000px">wide</div><p style="font-size:8px">small</p>
<svg role="img" width="100" height="20">
<text x="0" y="15">ab</text><text x="2" y="15">cd</text><text x="95" y="15">outside</text></svg>
<img src="missing.png"><script>console.error("e"); console.warn("w");
setTimeout(() => {throw new Error("x")}, 0)</script>"""


async def test_what_a_bad_page_does_is_seen(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(BAD, encoding="utf-8")
    visit = await chromium.visit(page, 1280)
    assert [request.rpartition("/")[2] for request in visit.requests] == ["bad.html", "missing.png"]
    texts = await visit.texts()
    await visit.evaluate("new Promise(done => setTimeout(done, 50))")
    complaints = "\n".join(visit.complaints)
    for found in ("error: ['e']", "warning: ['w']", "exception: Uncaught", "error: Failed to load resource"):
        assert found in complaints
    assert await visit.overflow() == 2000 - 1280
    small, outside, overlap = problems(texts, 1280)
    assert small == "'small' is 8 px high"
    assert outside.startswith("'outside' leaves chart 0")
    assert overlap == "'ab' and 'cd' lie on each other in chart 0"


async def test_no_process_of_chromium_outlives_its_block(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    profile = tmp_path / "profile"

    def of_this_one() -> list[str]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if str(profile) in command:
                found.append(command)
        return found

    async with running(profile) as browser:
        assert "Chrome" in (await browser.call("Browser.getVersion"))["product"]
        assert of_this_one()
    assert of_this_one() == []
