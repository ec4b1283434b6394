"""Charts of the report page: curves and points as coordinates of an SVG; the template only prints them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from pedro_bench.reporting.curves import Curve
from pedro_bench.reporting.placing import Name, placed
from pedro_bench.reporting.points import Point, front
from pedro_bench.reporting.report import Column

WIDTH, HEIGHT = 430, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 40

_COLOURS = ("#1b1b1b", "#0072b2", "#d55e00", "#009e73", "#b0569a", "#3a9bd9", "#8a6d00")
_DASHES = ("", "7 3", "2 2", "7 3 2 3")
_FEWEST_TICKS = 3

Pair = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """One line or one point: `places` are its coordinates, `bar` the ends of a vertical bar.

    A point has a `label`, which stands at `name`.
    """

    method: str
    title: str
    colour: str
    dash: str
    places: tuple[Pair, ...]
    bar: tuple[Pair, Pair] | None = None
    is_faint: bool = False
    label: str = ""
    name: Name | None = None

    @property
    def path(self) -> str:
        """The coordinates as SVG's polyline has them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.places)


@dataclass(frozen=True)
class Chart:
    """One chart: (coordinate, text) for ticks; `front` is the line through the unbeaten points."""

    kind: str
    task: str
    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    front: str = ""


class _Scale:
    """From values to coordinates, linear or logarithmic."""

    def __init__(self, values: Sequence[float], ends: Pair, *, is_log: bool) -> None:
        self._is_log = is_log
        low, high = min(values), max(values)
        room = (math.log10(high / low) if is_log else high - low) * 0.06 or (0.1 if is_log else 1.0)
        self.low = low / 10**room if is_log else low - room
        self.high = high * 10**room if is_log else high + room
        self._ends = ends

    def __call__(self, value: float) -> float:
        first, last = self._ends
        if self._is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return first + share * (last - first)

    def ticks(self, text: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
        found = self._shown(LogLocator(subs=(1.0, 2.0, 5.0))) if self._is_log else []
        if len(found) < _FEWEST_TICKS:
            found = self._shown(MaxNLocator(5))
        return tuple((self(value), text(value)) for value in found)

    def _shown(self, locator: Locator) -> list[float]:
        values = map(float, locator.tick_values(self.low, self.high))
        return [value for value in values if self.low <= value <= self.high]


def style_of(number: int) -> tuple[str, str]:
    """Return colour and dashes of the method of this number."""
    return _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]


def curve_chart(task: str, label: str, found: Sequence[Curve], methods: Sequence[str]) -> Chart:
    """Draw every seed's dev loss faintly and the median over seeds above them."""
    pairs = [pair for curve in found for series in curve.seeds.values() for pair in series]
    losses = [loss for _, loss in pairs]
    is_log = min(losses) > 0
    x = _Scale([step for step, _ in pairs], (LEFT, WIDTH - RIGHT), is_log=False)
    y = _Scale(losses, (HEIGHT - BOTTOM, TOP), is_log=is_log)
    marks = []
    for curve in found:
        style = style_of(methods.index(curve.method))
        for seed, series in sorted(curve.seeds.items()):
            places = tuple((x(step), y(loss)) for step, loss in series)
            title = f"{curve.name}, seed {seed}"
            marks.append(Mark(curve.method, title, *style, places, is_faint=True))
        middle = tuple((x(step), y(loss)) for step, loss in curve.median)
        marks.append(Mark(curve.method, f"{curve.name}, median over seeds", *style, middle))
    return Chart(
        "curves", task, label, "step", "dev loss", x.ticks(_number), y.ticks(_number), tuple(marks)
    )


def point_chart(
    kind: str, column: Column, found: Sequence[Point], methods: Sequence[str]
) -> Chart | None:
    """Draw medians with quartiles against `parameters` or `speed`; None where no run has them."""
    cost = _parameters if kind == "parameters" else _speed
    priced = [(value, point) for point in found if (value := cost(point))]
    if not priced:
        return None
    x = _Scale([value for value, _ in priced], (LEFT, WIDTH - RIGHT), is_log=True)
    y = _Scale(
        [v for _, p in priced for v in (p.low, p.high)], (HEIGHT - BOTTOM, TOP), is_log=False
    )
    places = [(x(value), y(point.median)) for value, point in priced]
    room = (LEFT, 0.0, WIDTH, HEIGHT - BOTTOM)
    names = placed(places, [point.name for _, point in priced], room)
    marks = tuple(
        Mark(
            point.method,
            f"{point.name}: {point.median:.2f} at {_amount(value)}",
            *style_of(methods.index(point.method)),
            (place,),
            ((place[0], y(point.low)), (place[0], y(point.high))),
            label=point.name,
            name=name,
        )
        for (value, point), place, name in zip(priced, places, names, strict=True)
    )
    unbeaten = front(
        [p for _, p in priced], cost if kind == "parameters" else _slowness, column.sign
    )
    line = " ".join(f"{x(cost(p) or 1.0):.1f},{y(p.median):.1f}" for p in unbeaten)
    unit = "parameters" if kind == "parameters" else "training tokens/s"
    ticks = x.ticks(_amount), y.ticks(_number)
    return Chart(kind, column.task, column.label, unit, column.scale, *ticks, marks, line)


def _parameters(point: Point) -> float | None:
    return point.parameters


def _speed(point: Point) -> float | None:
    return point.speed


def _slowness(point: Point) -> float | None:
    return None if point.speed is None else -point.speed


def _number(value: float) -> str:
    return f"{value:g}"


def _amount(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
