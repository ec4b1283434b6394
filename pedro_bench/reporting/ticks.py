"""Ticks of logarithmic axes: round numbers in the unit that they are shown in, no two labels alike.

Over a wide range they are at 1, 2 and 5 times the powers of ten (of bytes at the powers of two), each in its
own unit; where fewer than three of these are in view, at equal steps in one unit, so that values which lie
close together get `12.79 GiB` and `12.8 GiB`, not one rounded label several times.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

Units = Sequence[tuple[float, str]]
"""(size of a unit, what follows a number of it), the greatest first."""

PLAIN: Units = ((1.0, ""),)
AMOUNTS: Units = ((1e9, "B"), (1e6, "M"), (1e3, "K"), (1.0, ""))
BYTES: Units = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
JOULES: Units = ((1e3, " kJ"), (1.0, " J"))

_FEWEST, _MOST, _MOST_OF_BYTES = 3, 9, 6
"""Ticks of an axis; labels such as `512 MiB` are long."""
_DECADES = ((10.0, (1.0, 2.0, 5.0)), (10.0, (1.0,)))
_DOUBLING = ((2.0, (1.0,)),)
"""(base, multiples of its powers), the first with few enough ticks."""


def logarithmic(panel: Axes, axis: Literal["x", "y"], units: Units = PLAIN) -> None:
    """Make an axis logarithmic, with the `ticks` of what is in view; draw everything before."""
    one = panel.xaxis if axis == "x" else panel.yaxis
    panel.set(**{f"{axis}scale": "log"})
    found = ticks(*one.get_view_interval(), units)
    one.set_major_locator(FixedLocator(list(found)))
    one.set_major_formatter(FuncFormatter(lambda value, _: found.get(value, "")))
    one.set_minor_formatter(NullFormatter())


def ticks(low: float, high: float, units: Units = PLAIN) -> dict[float, str]:
    """Return the places from `low` to `high`, both above 0, that have a tick, with their labels."""
    most = _MOST_OF_BYTES if units is BYTES else _MOST
    shown: list[float] = []
    for base, subs in _DOUBLING if units is BYTES else _DECADES:
        powers = range(math.floor(math.log(low, base)), math.ceil(math.log(high, base)) + 1)
        shown = _within(low, high, [sub * base**power for power in powers for sub in subs])
        if len(shown) <= most:
            break
    if len(shown) >= _FEWEST:
        chosen = shown[:: -(-len(shown) // most)]
        return {place: _label(place, *_unit(place, units)) for place in chosen}
    size, name = _unit(high, units)
    for intervals in (5, 8, 12):
        steps = MaxNLocator(intervals, steps=[1, 2, 2.5, 5, 10]).tick_values(
            low / size, high / size
        )
        shown = _within(low, high, [step * size for step in steps])
        if len(shown) >= _FEWEST:
            break
    return {place: _label(place, size, name) for place in shown}


def _within(low: float, high: float, places: Iterable[float]) -> list[float]:
    return [float(place) for place in places if low <= place <= high]


def _unit(value: float, units: Units) -> tuple[float, str]:
    """Return the greatest unit that a value holds, the least where it holds none."""
    return next((unit for unit in units if value >= unit[0]), units[-1])


def _label(value: float, size: float, name: str) -> str:
    return f"{value / size:.10g}{name}"
