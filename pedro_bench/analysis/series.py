"""Series: what figures draw of a table: quality against cost, and losses on the dev split. Without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from pedro_bench.analysis.cells import Cell
from pedro_bench.analysis.reading import history_of
from pedro_bench.analysis.table import Line, Section, Table, costs_of, most_parameters

PARAMETERS, SPEED = "parameters", "speed"

AXES: Mapping[str, str | None] = {
    PARAMETERS: None,
    SPEED: "train_tokens_per_second",
    "seconds": "train_seconds",
    "gpu_energy": "gpu_joules",
    "processor_energy": "processor_joules",
    "memory": "peak_bytes",
    "size": "adapter_bytes",
}
"""What a point may cost -> its name in COSTS; of SPEED more is cheaper, of the others less."""

MEASURED: Mapping[str, str] = {"memory_mib": "memory"}
"""Metric that is itself one of AXES -> that axis, against which it says nothing."""

Series = tuple[tuple[float, float], ...]
"""(optimiser step, loss), in order of steps."""


@dataclass(frozen=True)
class Point:
    """One cell with a finished run: median score, and `low` and `high`, the first and the third quartile.

    `parameters` are matrix entries that the papers count, `costs` those of AXES; None where no record has
    them. `is_short`: it has fewer seeds than others of its column.
    """

    line: Line
    median: float
    low: float
    high: float
    parameters: float | None
    costs: Mapping[str, float | None]
    is_short: bool = False

    def at(self, kind: str) -> float | None:
        """Return where it is on one of AXES."""
        name = AXES[kind]
        return self.parameters if name is None else self.costs.get(name)


@dataclass(frozen=True)
class Curve:
    """One row's curves on one task, by seed, and the median over seeds at each step that all reached.

    Seeds that stopped early end the curve, as what follows would be of other seeds.
    """

    line: Line
    seeds: Mapping[int, Series]
    median: Series


def points(section: Section, column: int) -> list[Point]:
    """Return a column's cells that have a finished run, in order of rows."""
    return [
        point for line in section.lines if (point := _point(line, line.cells[column])) is not None
    ]


def _point(line: Line, cell: Cell) -> Point | None:
    if cell.spread is None:
        return None
    return Point(
        line=line,
        median=cell.spread.median,
        low=cell.spread.lower_quartile,
        high=cell.spread.upper_quartile,
        parameters=most_parameters(cell.shown, "matrices"),
        costs=costs_of(cell.shown),
        is_short=cell.short_of > 0,
    )


def by_parameters(found: Sequence[Point]) -> dict[str, list[Point]]:
    """Return method -> its points of known size, the smallest first."""
    groups: dict[str, list[Point]] = {}
    for point in found:
        if point.parameters:
            groups.setdefault(point.line.method, []).append(point)
    return {
        method: sorted(own, key=lambda one: (one.parameters or 0, one.line.settings))
        for method, own in groups.items()
    }


def has_several_sizes(section: Section) -> bool:
    """Whether some method of a section was run at more than one size on one task."""
    columns = range(len(section.lines[0].cells)) if section.lines else range(0)
    return any(
        len({one.parameters for one in own}) > 1
        for column in columns
        for own in by_parameters(points(section, column)).values()
    )


def front(found: Sequence[Point], kind: str, sign: int) -> list[Point]:
    """Return the points that no other beats, the cheapest first: none is better at the same or a lower cost.

    Points without a cost of this kind are left out, and those with fewer seeds than others; of SPEED more is
    cheaper. `sign` is -1 where the least score is the best.
    """
    cheap = -1 if kind == SPEED else 1
    priced = [
        (cheap * value, point)
        for point in found
        if (value := point.at(kind)) is not None and not point.is_short
    ]
    best: list[Point] = []
    for _, point in sorted(priced, key=lambda pair: (pair[0], -sign * pair[1].median)):
        if not best or sign * point.median > sign * best[-1].median:
            best.append(point)
    return best


def curves(table: Table, section: Section) -> dict[str, list[Curve]]:
    """Return printed task -> its curves, for every task that has any; once for several metrics.

    Raises:
        RecordError: If a record cannot be read any more.
    """
    found: dict[str, list[Curve]] = {}
    for number, column in enumerate(table.columns):
        if column.label not in found:
            own = [(line, _of_seeds(line.cells[number])) for line in section.lines]
            drawn = [
                Curve(line, seeds, _median(list(seeds.values()))) for line, seeds in own if seeds
            ]
            if drawn:
                found[column.label] = drawn
    return found


def _of_seeds(cell: Cell) -> dict[int, Series]:
    found = {}
    for run in cell.shown:
        pairs = [(one.get("step"), one.get("dev_loss")) for one in history_of(run)]
        series = tuple(
            (float(step), float(loss))
            for step, loss in pairs
            if isinstance(step, int | float) and isinstance(loss, int | float)
        )
        if series:
            found[run.seed] = series
    return found


def _median(series: Sequence[Series]) -> Series:
    losses = [dict(one) for one in series]
    shared = [step for step, _ in series[0] if all(step in one for one in losses)]
    return tuple((step, median([one[step] for one in losses])) for step in shared)


def curve_data(shown: Mapping[str, Sequence[Curve]]) -> pd.DataFrame:
    """Return what `curves` gives as one row a step, of each seed and of the median (no seed)."""
    rows = [
        (task, curve.line.name, seed, step, loss)
        for task, found in shown.items()
        for curve in found
        for seed, series in [(None, curve.median), *sorted(curve.seeds.items())]
        for step, loss in series
    ]
    frame = pd.DataFrame(rows, columns=["task", "row", "seed", "step", "dev_loss"])
    return frame.astype({"seed": "Int64"})


def point_data(table: Table, section: Section) -> pd.DataFrame:
    """Return every point of a section, one row each."""
    rows = [
        (column.task, column.metric, one.line.name, one.parameters, one.median, one.low, one.high)
        for number, column in enumerate(table.columns)
        for one in points(section, number)
    ]
    columns = ["task", "metric", "row", "parameters", "median", "lower_quartile", "upper_quartile"]
    return pd.DataFrame(rows, columns=columns)
