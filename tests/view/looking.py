"""What every page of ours promises, looked at in a browser."""

from __future__ import annotations

import io
import os
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from tests.view.chromium import Browser, SeenText, Visit

LEAST_PIXELS = 11


async def look(browser: Browser, page: Path, width: int, *, is_dark: bool = False) -> Visit:
    """``page`` opened at ``width`` pixels, checked; returns it for further questions.

    It asks for nothing but itself and complains of nothing; it is not wider than the window; all text is at least
    `LEAST_PIXELS` high; text in a chart stays within it and the window, and no two of its texts lie on each other; and
    something is to be seen. ``page`` is an absolute path. With ``AIOLOADER_SHOTS`` set to a folder the screenshot is
    kept there.
    """
    visit = await browser.visit(page, width, is_dark=is_dark)
    shot = await visit.screenshot()
    keep_shot(f"{page.stem}-{width}{'-dark' if is_dark else ''}.png", shot)
    assert visit.requests == [page.as_uri()]
    assert visit.complaints == []
    assert await visit.overflow() <= 0
    assert problems(await visit.texts(), width) == []
    check_shot(shot, width)
    return visit


def problems(texts: list[SeenText], width: int) -> list[str]:
    """What is too small, outside, or on each other, one sentence each."""
    found = [f"{text.text!r} is {text.pixels} px high" for text in texts if text.pixels < LEAST_PIXELS]
    in_charts = [text for text in texts if text.chart >= 0]
    found += [
        f"{text.text!r} leaves chart {text.chart} or the window: {text.left} to {text.right}"
        for text in in_charts
        if not text.inside or text.left < 0 or text.right > width
    ]
    return found + [
        f"{one.text!r} and {other.text!r} lie on each other in chart {one.chart}"
        for one, other in combinations(in_charts, 2)
        if one.chart == other.chart and one.overlaps(other)
    ]


def keep_shot(name: str, shot: bytes) -> None:
    """In the folder that ``AIOLOADER_SHOTS`` names, if it is set."""
    if folder := os.environ.get("AIOLOADER_SHOTS"):
        (Path(folder) / name).write_bytes(shot)


def check_shot(shot: bytes, width: int) -> None:
    """It is as wide as the window, and neither empty nor one colour."""
    with Image.open(io.BytesIO(shot)) as image:
        assert image.width == width
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    pixels = sum(count for count, _ in colours)
    assert len(colours) > 100
    assert max(count for count, _ in colours) < 0.97 * pixels
