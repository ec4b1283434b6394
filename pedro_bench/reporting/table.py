"""Table: methods x tasks, the median over seeds, the best two marked, a note on every doubt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pedro_bench.records import RunRecord
from pedro_bench.reporting.load import Cell, Panel, Row
from pedro_bench.reporting.statistics import median

FULL_SEEDS = 5
"""Seeds that a cell should have; fewer are shown beside its number."""

MISSING = "--"


@dataclass(frozen=True)
class Entry:
    """One cell as shown.

    Attributes:
        value: Median of the task's main metric, None where no run finished.
        seeds: Number of finished seeds.
        rank: 1 for the best of its column, 2 for the second, else 0; equal numbers share a rank.
    """

    value: float | None
    seeds: int
    rank: int = 0

    @property
    def text(self) -> str:
        """The number with two decimals and, under five seeds, their number; or MISSING."""
        if self.value is None:
            return MISSING
        count = f" (n={self.seeds})" if self.seeds < FULL_SEEDS else ""
        return f"{self.value:.2f}{count}"


@dataclass(frozen=True)
class Line:
    """One row as shown: its printed name in LaTeX, its settings, and an entry for every task."""

    label: str
    settings: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """One table as shown.

    Attributes:
        name: File name without ending.
        caption: What it shows, in plain text.
        columns: One heading for each task, with its metric.
        lines: Rows in order.
        notes: Sentences on failed, missing, superseded and uncommitted runs.
        missing: `row on task` for every cell without a finished run.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


def build(panel: Panel, rows: Sequence[Row]) -> Table:
    """Turn loaded rows into a table.

    Args:
        panel: What the rows have in common.
        rows: At least one row, as `load` gives them.
    """
    tasks = sorted({task for row in rows for task in row.cells})
    columns = [_ranked([_entry(row.cells.get(task)) for row in rows]) for task in tasks]
    lines = [
        Line(row.label, ", ".join(row.settings), tuple(column[index] for column in columns))
        for index, row in enumerate(rows)
    ]
    missing = [
        f"{_name(row)} on {task}"
        for row in rows
        for task in tasks
        if task not in row.cells or not row.cells[task].finished
    ]
    micro = " Micro" if "micro" in (panel.backbone, panel.data) else ""
    what = f" ({micro.strip().lower()} results: embedded backbone or data)" if micro else ""
    return Table(
        name=f"{panel.suite}--{panel.backbone}--{panel.data}",
        caption=(
            f"Suite {panel.suite}, backbone {panel.backbone}, data {panel.data}{what}: "
            "median over seeds on the test split."
        ),
        columns=tuple(_heading(task, rows) for task in tasks),
        lines=tuple(lines),
        notes=tuple(_notes(rows)),
        missing=tuple(missing),
    )


def _entry(cell: Cell | None) -> Entry:
    if cell is None or not cell.finished:
        return Entry(None, 0)
    scores = [run.metrics["test"][run.main_metric] for run in cell.finished]
    return Entry(median(scores), len(scores))


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Mark the best and the second best as shown, to two decimals; higher is better."""
    shown = sorted({round(one.value, 2) for one in entries if one.value is not None}, reverse=True)
    ranks: Mapping[float, int] = {value: place for place, value in enumerate(shown[:2], start=1)}
    return [
        Entry(
            one.value, one.seeds, ranks.get(round(one.value, 2), 0) if one.value is not None else 0
        )
        for one in entries
    ]


def _heading(task: str, rows: Sequence[Row]) -> str:
    runs = [run for row in rows for run in _runs(row.cells.get(task))]
    label = str(dict(runs[0].config.get("task") or {}).get("label", task))
    return f"{label} ({runs[0].main_metric})"


def _runs(cell: Cell | None) -> tuple[RunRecord, ...]:
    return () if cell is None else (*cell.finished, *cell.failed)


def _name(row: Row) -> str:
    return f"{row.method} [{', '.join(row.settings)}]" if row.settings else row.method


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    for row in rows:
        for task, cell in row.cells.items():
            place = f"{_name(row)} on {task}"
            notes += [f"Failed: {place}, seed {run.seed}: {run.error}" for run in cell.failed]
            if cell.superseded:
                keys = ", ".join(cell.superseded)
                notes.append(f"Superseded: {place} has older runs that are not shown ({keys}).")
    shown = [run for row in rows for cell in row.cells.values() for run in cell.finished]
    dirty = sum(bool(run.environment.get("dirty")) for run in shown)
    if dirty:
        notes.append(f"Uncommitted code: {dirty} of {len(shown)} runs were made with it.")
    return notes
