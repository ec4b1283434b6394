"""Forest plots: how far every method lies from the best of its column, with 95% intervals.

One panel a column, one row a method. The mark is the difference of means from the best method (which stands
at 0), the line its 95% interval, not corrected for the number of methods; a filled mark is separable from
the best at p < 0.05, corrected after Holm for all pairs of the column. A method that cannot be compared has
no mark; the notes of the table say why. An interval that reaches many times as far as the others is cut, with
an arrow where it goes on, filled as the mark is, and the difference as a number where that lies outside.
"""

from collections.abc import Iterator, Sequence
from statistics import median

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pedro_bench.analysis.cells import Cell, Column
from pedro_bench.analysis.comparison import Difference
from pedro_bench.analysis.table import Line, Section, Table
from pedro_bench.reporting.figures import literal, name_of, place_of

_FAR = 4.0
"""An interval is cut that reaches so many times as far from 0 as half of them do."""

_WIDTH, _ROW = 3.3, 0.19
"""Inches: the width of a panel, and the height of a row."""

Compared = Sequence[tuple[Column, Sequence[tuple[Line, Cell]]]]


def compared(table: Table, section: Section) -> Compared:
    """Return the columns in which some method is compared with the best one, with their rows."""
    found = []
    for number, column in enumerate(table.columns):
        rows = [(line, line.cells[number]) for line in section.lines]
        if any(cell.from_best is not None for _, cell in rows):
            found.append((column, [(line, cell) for line, cell in rows if cell.spread]))
    return found


def forest_figure(table: Table, section: Section) -> Figure:
    """Draw the differences from the best, for a section that `compared` gives columns of."""
    shown = compared(table, section)
    names = list(dict.fromkeys(line.name for _, rows in shown for line, _ in rows))
    labels = {line.name: name_of(line) for _, rows in shown for line, _ in rows}
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    figure = Figure(
        figsize=(_WIDTH * across, (_ROW * len(names) + 0.75) * down + 0.6), layout="constrained"
    )
    axes = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for spare in axes[len(shown) :]:
        spare.remove()
    figure.suptitle(
        f"Difference from the best of a column{place_of(table, section)}: means with 95% intervals; "
        "filled: separable after Holm",
        fontsize=8.5,
        wrap=True,
    )
    for panel, (column, rows) in zip(axes, shown, strict=False):
        _draw(panel, column, rows, names)
        panel.set_yticks(range(len(names)), [labels[name] for name in names])
    axes[0].invert_yaxis()
    return figure


def _draw(
    panel: Axes, column: Column, rows: Sequence[tuple[Line, Cell]], names: Sequence[str]
) -> None:
    panel.axvline(0.0, color="0.6", linewidth=0.8)
    limits = _limits([cell.from_best.comparison for _, cell in rows if cell.from_best is not None])
    for line, cell in rows:
        place = names.index(line.name)
        if cell.from_best is None:
            if cell.place == 1:
                panel.plot([0.0], [place], "D", color="0.0")
            continue
        difference = cell.from_best.comparison
        panel.plot([difference.low, difference.high], [place, place], "-", color="0.0")
        face = "0.0" if cell.from_best.separates else "1.0"
        panel.plot(
            [difference.difference], [place], "o", color="0.0", markerfacecolor=face, zorder=3
        )
        if limits is not None:
            _mark_cut(panel, difference, place, limits, face)
    if limits is not None:
        panel.set_xlim(limits)
    panel.set(title=literal(column.label), xlabel=literal(f"{column.scale}, less the best"))


def _limits(found: Sequence[Difference]) -> tuple[float, float] | None:
    """Return the ends of an axis that some intervals go beyond, or None where all fit."""
    reaches = [max(-one.low, one.high) for one in found]
    most = _FAR * median(reaches) if reaches else 0.0
    near = [one for one, reach in zip(found, reaches, strict=True) if reach <= most]
    if not most or len(near) == len(found):
        return None  # also where half of them have no width, which leaves no axis
    low, high = min(0.0, *(one.low for one in near)), max(0.0, *(one.high for one in near))
    margin = 0.1 * (high - low)
    return low - margin, high + margin


def _mark_cut(
    panel: Axes, found: Difference, place: int, limits: tuple[float, float], face: str
) -> None:
    """Mark where an interval leaves the axis, with the difference where that lies outside as well."""
    for end, sign in zip(limits, "<>", strict=True):
        if (found.low < end) if sign == "<" else (found.high > end):
            panel.plot(
                [end], [place], sign, color="0.0", markerfacecolor=face, clip_on=False, zorder=4
            )
    if not limits[0] <= found.difference <= limits[1]:
        is_left = found.difference < limits[0]
        panel.annotate(
            literal(f"{found.difference:+.1f}"),
            (limits[0] if is_left else limits[1], place),
            xytext=(6 if is_left else -6, 3),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontsize=7,
        )


def forest_data(table: Table, section: Section) -> pd.DataFrame:
    """Return what the figure draws, one row a method and column; the best has zeros."""
    return pd.DataFrame(
        list(_differences(compared(table, section))),
        columns=["task", "metric", "row", "difference", "low", "high", "p", "separable"],
    )


def _differences(shown: Compared) -> Iterator[tuple[object, ...]]:
    for column, rows in shown:
        for line, cell in rows:
            if cell.from_best is not None:
                tested, found = cell.from_best, cell.from_best.comparison
                yield (
                    column.task, column.metric, line.name, found.difference, found.low, found.high,
                    tested.p, tested.separates,
                )  # fmt: skip
            elif cell.place == 1:
                yield column.task, column.metric, line.name, 0.0, 0.0, 0.0, None, False
