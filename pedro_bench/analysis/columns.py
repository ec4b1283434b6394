"""The columns of a table: those of the paper's table, then the tasks that only records have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pedro_bench.analysis.cells import Column
from pedro_bench.analysis.papers import STAND_INS, Layout, distinct, label_of
from pedro_bench.analysis.row_runs import RowRuns


@dataclass(frozen=True)
class TableColumns:
    """The columns of all sections of a table.

    Attributes:
        columns: The columns, of which no two tasks share a printed name.
        is_planned: Backbone -> for each column, whether the layout or the backbone's records have it.
    """

    columns: list[Column]
    is_planned: Mapping[str, Sequence[bool]]


def columns_of(by_backbone: Mapping[str, Sequence[RowRuns]], layout: Layout | None) -> TableColumns:
    """Return the columns of a table.

    Args:
        by_backbone: Backbone -> its rows.
        layout: The table's layout, None where there is none.
    """
    own = {backbone: _columns_of_section(rows, layout) for backbone, rows in by_backbone.items()}
    columns = _joined(column for found in own.values() for column in found)
    is_planned = {
        backbone: [any(_is_same(column, one) for one in found) for column in columns]
        for backbone, found in own.items()
    }
    labels = distinct({column.task: column.label for column in columns})
    return TableColumns(
        [replace(column, label=labels[column.task]) for column in columns], is_planned
    )


def _columns_of_section(rows: Sequence[RowRuns], layout: Layout | None) -> list[Column]:
    """Return the layout's columns, then a column for each other task that a backbone's records have."""
    chosen = _chosen(rows, layout)
    recorded = {task for row in rows for task in row.tasks} - {task for task, _ in chosen}
    others = [(task, None) for task in sorted(recorded)]
    return [_column(task, metric, rows) for task, metric in (*chosen, *others)]


def _chosen(rows: Sequence[RowRuns], layout: Layout | None) -> list[tuple[str, str | None]]:
    """Return task and metric of the layout's columns, a stand-in behind its metric where a run has it."""
    found: list[tuple[str, str | None]] = []
    for task, metric in layout.columns if layout else ():
        found.append((task, metric))
        stand_in = STAND_INS.get(metric or "")
        shown = (run for row in rows for run in row.shown_on(task))
        if any(stand_in in run.scores for run in shown):
            found.append((task, stand_in))
    return found


def _column(task: str, metric: str | None, rows: Sequence[RowRuns]) -> Column:
    """Return a column with what its runs say: printed name, main metric, whether the least is the best."""
    runs = [run for row in rows for own in row.tasks.get(task, {}).values() for run in own]
    settings = [(run.main_metric, run.config.get("task") or {}) for run in runs]
    label = settings[0][1].get("label") if settings else None
    own = metric or (settings[0][0] if settings else None)
    lower = any(main == own and task.get("lower_is_better") for main, task in settings)
    return Column(task, str(label or label_of("tasks", task)), own, lower)


def _joined(found: Iterable[Column]) -> list[Column]:
    """Return columns once, of several that are the same the one whose records say more."""
    columns: list[Column] = []
    for column in found:
        place = next((n for n, one in enumerate(columns) if _is_same(one, column)), None)
        if place is None:
            columns.append(column)
        elif columns[place].metric is None or column.lower_is_better:
            columns[place] = column
    return columns


def _is_same(one: Column, other: Column) -> bool:
    """Whether two columns are one; a metric that is not known is any of its task."""
    is_metric = one.metric == other.metric or None in (one.metric, other.metric)
    return one.task == other.task and is_metric
