"""Points: every cell of a report as quality against what it costs, in parameters and in speed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pedro_bench.reporting.cells import plain
from pedro_bench.reporting.labels import told_apart
from pedro_bench.reporting.report import Line, Section
from pedro_bench.reporting.statistics import median


@dataclass(frozen=True)
class Point:
    """One cell with a finished run.

    Attributes:
        method: The method's name.
        label: Its printed name in plain text, without settings; no other method of its section has it.
        settings: Settings in which it differs from the method's other rows.
        median: Median score over seeds.
        low: First quartile of the scores; `high` the third.
        high: Third quartile.
        seeds: Number of seeds.
        parameters: Matrix entries that the papers count, None where no record has them.
        speed: Median over seeds of the tokens trained on per second, likewise.
    """

    method: str
    label: str
    settings: tuple[str, ...]
    median: float
    low: float
    high: float
    seeds: int
    parameters: int | None
    speed: float | None

    @property
    def name(self) -> str:
        """Printed name with settings."""
        return label_of(self.label, self.settings)


def label_of(label: str, settings: Sequence[str]) -> str:
    """Return a printed name with settings, in plain text."""
    return plain(label) + (f" ({', '.join(settings)})" if settings else "")


def points(section: Section, column: int) -> tuple[Point, ...]:
    """Return a column's cells that have a finished run, in order of rows."""
    lines = told_apart(section).lines
    return tuple(_point(line, column) for line in lines if line.entries[column].spread is not None)


def _point(line: Line, column: int) -> Point:
    entry = line.entries[column]
    assert entry.spread is not None
    counts = [run.matrices for run in entry.finished if run.matrices is not None]
    speeds = [float(run.timing.get("tokens_per_second") or 0) for run in entry.finished]
    measured = [speed for speed in speeds if speed > 0]
    return Point(
        method=line.method,
        label=plain(line.label),
        settings=line.settings,
        median=entry.spread.median,
        low=entry.spread.lower_quartile,
        high=entry.spread.upper_quartile,
        seeds=entry.spread.seeds,
        parameters=max(counts, default=None),
        speed=median(measured) if measured else None,
    )


def by_parameters(found: Sequence[Point]) -> dict[str, list[Point]]:
    """Return method -> its points of known size, the smallest first."""
    groups: dict[str, list[Point]] = {}
    for point in found:
        if point.parameters:
            groups.setdefault(point.method, []).append(point)
    return {
        method: sorted(own, key=lambda one: (one.parameters or 0, one.settings))
        for method, own in groups.items()
    }


def has_several_sizes(section: Section) -> bool:
    """Whether some method of a section was run at more than one size on one task."""
    return any(
        len({one.parameters for one in own}) > 1
        for column in range(len(section.columns))
        for own in by_parameters(points(section, column)).values()
    )


def front(found: Sequence[Point], cost: Callable[[Point], float | None], sign: int) -> list[Point]:
    """Return the points that no other beats: none is better at the same or a lower cost.

    Args:
        found: Points; those without a cost are left out.
        cost: What is to be low: `lambda p: p.parameters`, or `lambda p: -p.speed` for speed.
        sign: 1 where the greatest score is the best, -1 where the least is.

    Returns:
        The cheapest first.
    """
    priced = [(value, point) for point in found if (value := cost(point)) is not None]
    best: list[Point] = []
    for _, point in sorted(priced, key=lambda pair: (pair[0], -sign * pair[1].median)):
        if not best or sign * point.median > sign * best[-1].median:
            best.append(point)
    return best
