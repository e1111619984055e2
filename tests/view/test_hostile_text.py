"""Whatever a user gives, as keys, reasons or addresses, is text on a page, never markup, and without secrets."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.view.charts import (
    SAMPLES_PER_S,
    SHARE,
    Bar,
    Event,
    Layer,
    Series,
    Work,
    area_chart,
    bar_chart,
    line_chart,
    stage_chart,
)
from aioloader.view.markup import LONGEST_TEXT, element, plain, text
from aioloader.view.page import Section, page, table
from tests.view.reading import read

if TYPE_CHECKING:
    from aioloader.view.markup import Markup

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</style></title></figure><h1>",
    "a&b &lt;&amp; &#x3c;script&#x3e;",
    "<!-- ",
    "]]>",
    "<?php",
    "{{x}}",
    "zurück/图像/🖼/\u202egpj.exe",
    "line\nbreak\ttab\x00null\x1b[31m",
    "\ud800 half a pair",
    "x" * 2000,
    "<b>" * 700,
    "javascript:alert(1)",
    "url(//evil)",
]

SAFE_TAGS = set(
    "html head meta title style body main h1 h2 p dl div dt dd section footer figure figcaption ul li ol svg path line "
    "rect circle text g b i span details summary foreignObject table thead tbody tr th td code".lower().split()
)


class Seen(HTMLParser):
    """Tags, attributes and text as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def see(html: str) -> Seen:
    """``html`` read; its tags must close in order."""
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert not seen.open
    return seen


def charts_with(name: str) -> list[Markup]:
    """Every chart, with ``name`` wherever a user's text can stand."""
    lines = [Series(name, [(0, 1), (1, 2)]), Series("other", [(0, 1)])]
    layers = [Layer(name, [1.0]), Layer("other", [1.0])]
    return [
        line_chart(name, lines, y=SAMPLES_PER_S, events=[Event(0.5, name), Event(0.7, name, name)]),
        area_chart(name, [0, 1], layers, y=SHARE, events=[Event(0.5, name)]),
        bar_chart(name, [Bar(name, 1, 0, 2, name)], x=SAMPLES_PER_S),
        stage_chart(name, [Work(name, 0, 1, name)], lanes=[name]),
        table([name, "bytes"], [[name, "1"]]),
    ]


def page_with(name: str) -> str:
    """A page with ``name`` everywhere."""
    sections = [Section(name, name, charts_with(name))]
    return page(name, name, sections, facts=[(name, name)], footer=name)


def check_harmless(html: str) -> None:
    """Nothing but what our pages consist of."""
    seen = see(html)
    assert seen.tags <= SAFE_TAGS
    for name, value in seen.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "srcset", "action")
        assert name != "style" or "(" not in value


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(name: str) -> None:
    html = page_with(name)
    check_harmless(html)
    html.encode()
    assert plain(name) in "".join(see(html).texts)
    for chart in charts_with(name):
        read(chart)


@given(st.text(max_size=300))
def test_any_text_stays_text(name: str) -> None:
    check_harmless(page_with(name))


def test_a_long_key_is_shown_by_its_two_ends() -> None:
    key = "train/" + "x" * 2000 + "/last.jpg"
    shown = plain(key)
    assert len(shown) == LONGEST_TEXT - 1
    assert shown.startswith("train/xxx")
    assert shown.endswith("xxx/last.jpg")
    assert "x" * LONGEST_TEXT not in "".join(map(str, charts_with(key)))


@pytest.mark.parametrize(
    "name",
    [
        "https://bob:hunter2@host/key?X-Amz-Signature=hunter2&b=hunter2#hunter2",
        "a reason: GET https://bob:hunter2@host/key?sig=hunter2 failed, and s3://u:hunter2@bucket/k too",
        "https://host/a b?sig=hunter2 hunter2",
    ],
)
def test_no_secret_of_an_address_is_shown(name: str) -> None:
    html = page_with(name)
    assert "hunter2" not in html
    assert "host" in html


def test_a_page_asks_for_nothing_from_anywhere() -> None:
    html = page_with("images/1.jpg")
    for word in ("http:", "https:", "url(", "src=", "href=", "@import", "<script", "<link"):
        assert word not in html


def test_the_page_is_html5_with_a_charset_and_a_viewport() -> None:
    html = page("A run", "It is fine.", [Section("One", "What it shows.", [text("part")])], footer="made here")
    assert html.startswith('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport"')
    seen = see(html)
    assert seen.texts.count("A run") == 2  # the title and the heading
    assert [one for one in seen.texts if one.strip()][-4:] == ["One", "What it shows.", "part", "made here"]


def test_numbers_of_a_table_are_flush_right_and_it_scrolls_inside_itself() -> None:
    root = read(table(["key", "seconds"], [["a.jpg", "1.2 s"]], numeric=[1]))
    assert root.get("class") == "scrolls"
    assert [(cell.tag, cell.text, cell.get("class")) for cell in root.iter() if cell.tag in ("th", "td")] == [
        ("th", "key", "short"),
        ("th", "seconds", "number"),
        ("td", "a.jpg", "short"),
        ("td", "1.2 s", "number"),
    ]


def test_a_verdict_is_shown_whole_though_it_is_long() -> None:
    sentence = "The run is limited by decoding. " * 20
    assert sentence.strip() in page("A run", sentence.strip(), [])


def test_attributes_are_written_as_in_html() -> None:
    assert element("rect", class_="a b", text_anchor="end", x=0.125, y=3.0, width=1e-9) == (
        '<rect class="a b" text-anchor="end" x="0.12" y="3" width="0"></rect>'
    )
