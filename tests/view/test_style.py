"""The colours: seen against their background, and told apart, by colour-blind people too."""

from __future__ import annotations

import re
from itertools import combinations
from math import dist

import pytest

from aioloader.view.style import DARK, DARK_SERIES, LIGHT, LIGHT_SERIES, STYLE

Triple = tuple[float, float, float]

# What people without the long or the middle cones see, in linear RGB (Viénot, Brettel and Mollon, 1999).
SEEN: dict[str, tuple[Triple, Triple, Triple]] = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "deuteranopia": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
}
SCHEMES = {"light": (LIGHT, LIGHT_SERIES), "dark": (DARK, DARK_SERIES)}


def linear(colour: str) -> Triple:
    """``#rrggbb`` as amounts of light."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))

    def light(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)

    return light(red), light(green), light(blue)


def contrast(first: str, second: str) -> float:
    """By WCAG: 1 to 21."""
    lights = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in map(linear, (first, second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lab(colour: str, seen_by: str) -> Triple:
    """CIE L*a*b* of what is seen: a distance of 2 is the smallest that is noticed."""
    light = linear(colour)
    red, green, blue = (
        min(max(sum(share * part for share, part in zip(row, light, strict=True)), 0.0), 1.0) for row in SEEN[seen_by]
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    x, y, z = (float(part ** (1 / 3)) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_stand_out_from_their_background(scheme: str) -> None:
    colours, series = SCHEMES[scheme]
    for colour in series:
        assert contrast(colour, colours["background"]) >= 3  # what is asked of graphics
    for name in ("text", "quiet", "event"):
        assert contrast(colours[name], colours["background"]) >= 4.5  # what is asked of text


@pytest.mark.parametrize("seen_by", SEEN)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_two_series_are_told_apart(scheme: str, seen_by: str) -> None:
    for first, second in combinations(SCHEMES[scheme][1], 2):
        assert dist(lab(first, seen_by), lab(second, seen_by)) >= 18, (first, second)


def test_no_text_is_smaller_than_11_pixels() -> None:
    sizes = [float(found) for found in re.findall(r"font(?:-size)?:(\d+(?:\.\d+)?)px", STYLE)]
    assert min(sizes) >= 11
    assert not re.search(r"font-size:[^;}]*(em|%|vw)", STYLE)
