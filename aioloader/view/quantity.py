"""What an axis measures and how its values are written: units that fit, few digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Unit:
    """``size`` of the base unit, used from ``least`` on (in the base unit)."""

    name: str
    size: float = 1.0
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """``name`` says what is measured where the unit alone does not; ``units`` from small to large."""

    name: str
    units: tuple[Unit, ...] = (Unit(""),)
    noun: str = ""
    """What one value counts, for tooltips and sentences: "12 requests"."""

    def unit(self, largest: float) -> Unit:
        """The unit for an axis up to ``largest``."""
        fitting = [unit for unit in self.units if unit.least <= abs(largest)]
        return fitting[-1] if fitting else self.units[0]

    def title(self, unit: Unit) -> str:
        """An axis' title: ``"time, s"``."""
        return ", ".join(part for part in (self.name, unit.name) if part)

    def write(self, value: float) -> str:
        """One value with the unit that fits: ``"12.5 ms"``."""
        unit = self.unit(value)
        return " ".join(part for part in (short(value / unit.size), unit.name or self.noun) if part).replace(" %", "%")

    def write_bare(self, value: float) -> str:
        """One value beside an axis: without the unit where there is only one, which the axis names."""
        return self.write(value) if len(self.units) > 1 else short(value / self.units[0].size)


_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Three digits or so: ``1234.5`` as ``1,235``, ``12.34`` as ``12.3``."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 0.001:
        return f"{value:.2g}".replace("e+", "e")
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or size == 0 else 3
    return _without_zeros(f"{value:,.{decimals}f}")


def tick_label(value: float, step: float, largest: float) -> str:
    """A round number ``value`` on an axis of that ``step``, up to ``largest``: at most six characters or so."""
    if not value:
        return "0"
    if largest >= 1e15 or largest < 1e-4:
        return f"{value:.2g}".replace("e+", "e")
    if largest >= 1e4:
        size, letter = next(pair for pair in _THOUSANDS if largest >= pair[0])
        return _without_zeros(f"{value / size:.3f}") + letter
    decimals = next((places for places in range(9) if abs(round(step, places) - step) < step * 1e-6), 9)
    return f"{value:,.{decimals}f}"


def _without_zeros(written: str) -> str:
    return written.rstrip("0").rstrip(".") if "." in written else written


TIME: Final = Quantity("time", (Unit("s"), Unit("min", 60, 180), Unit("h", 3600, 5 * 3600)))
LATENCY: Final = Quantity("", (Unit("µs", 1e-6), Unit("ms", 1e-3, 1e-3), Unit("s", 1.0, 1.0)))
SAMPLES_PER_S: Final = Quantity("", (Unit("samples/s"),))
BYTES: Final = Quantity("", (Unit("B"), Unit("kB", 1e3, 1e3), Unit("MB", 1e6, 1e6), Unit("GB", 1e9, 1e9)))
BYTES_PER_S: Final = Quantity("", (Unit("B/s"), Unit("kB/s", 1e3, 1e3), Unit("MB/s", 1e6, 1e6), Unit("GB/s", 1e9, 1e9)))
SHARE: Final = Quantity("", (Unit("%", 0.01),))


def count_of(noun: str, name: str = "") -> Quantity:
    """Counted things: ``count_of("requests in flight")``; ``name`` is the axis' title where it is another."""
    return Quantity(name or noun, noun=noun)


SAMPLES: Final = count_of("samples")
