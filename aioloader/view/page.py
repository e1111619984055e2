"""A self-contained page: no script, nothing from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioloader.view.markup import Markup, element, text
from aioloader.view.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence


LONGEST_SENTENCE = 2000
"""Characters of a sentence that are shown; verdicts are as long as they must be."""

_LONG = 40
"""Characters of a cell that is broken into lines, anywhere."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, one sentence on what is to be seen, and charts or tables."""

    heading: str
    sentence: str
    parts: Sequence[Markup]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = ()) -> Markup:
    """A table that scrolls inside itself where it is too wide; the columns ``numeric`` are flush right."""

    def cells(tag: str, row: Sequence[str]) -> list[Markup]:
        return [
            element(tag, text(cell), class_="number" if index in numeric else "long" if len(cell) > _LONG else "short")
            for index, cell in enumerate(row)
        ]

    head = element("thead", element("tr", *cells("th", columns)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return element("div", element("table", head, body), class_="scrolls", tabindex=0, role="region", aria_label="table")


def folded(summary: str, part: Markup) -> Markup:
    """``part``, shown when ``summary`` is clicked."""
    return element("details", element("summary", text(summary)), part)


def _section(section: Section) -> Markup:
    sentence = element("p", text(section.sentence, LONGEST_SENTENCE))
    return element("section", element("h2", text(section.heading)), sentence, *section.parts)


def page(
    title: str, lead: str, sections: Sequence[Section], *, facts: Sequence[tuple[str, str]] = (), footer: str = ""
) -> str:
    """The page's HTML: ``lead`` is the one sentence that matters, ``facts`` are names and figures below it."""
    head = element("title", text(title))
    parts = [element("h1", text(title)), element("p", text(lead, LONGEST_SENTENCE), class_="lead")]
    if facts:
        pairs = (element("div", element("dt", text(name)), element("dd", text(value))) for name, value in facts)
        parts.append(element("dl", *pairs, class_="facts"))
    parts += map(_section, sections)
    if footer:
        parts.append(element("footer", text(footer, LONGEST_SENTENCE)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{head}\n<style>\n{STYLE}</style>\n</head>\n<body>\n{element('main', *parts)}\n</body>\n</html>\n"
    )
