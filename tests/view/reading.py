"""Reads charts back: well-formed, and every coordinate a number."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_COMMAND = re.compile(r"([MLHVZ])([^MLHVZ]*)")


def read(markup: str) -> ET.Element:
    """The chart's tree; raises where the markup is not well-formed."""
    return ET.fromstring(markup)


def with_class(root: ET.Element, name: str, tag: str = "*") -> list[ET.Element]:
    """Elements of a class, in document order."""
    return [found for found in root.iter() if name in found.get("class", "").split() and tag in ("*", found.tag)]


def drawn(root: ET.Element, name: str) -> list[ET.Element]:
    """Elements of a class inside the stretched drawing: not the legend's."""
    return [found for drawing in with_class(root, "drawing") for found in with_class(drawing, name)]


def points(path: str) -> list[tuple[float, float]]:
    """The corners of a path of the commands that charts use."""
    corners: list[tuple[float, float]] = []
    for command, rest in _COMMAND.findall(path):
        numbers = [float(found) for found in _NUMBER.findall(rest)]
        assert "".join(_NUMBER.sub("", rest).split()) == "", path  # no "nan", no "inf", no exponent
        if command in "ML":
            corners.append((numbers[0], numbers[1]))
        elif command == "H":
            corners.append((numbers[0], corners[-1][1]))
        elif command == "V":
            corners.append((corners[-1][0], numbers[0]))
    return corners


def size(element: ET.Element, name: str) -> float:
    """A coordinate, in percent or units."""
    return float((element.get(name) or "nan").rstrip("%"))


def words(root: ET.Element) -> str:
    """All text."""
    return " ".join(root.itertext())
