"""Sections: one backbone's part of a table, made of the runs of its rows.

Every row has a cell in every column (`cells`). The cells of a column are judged together (`judging`), the
paper's numbers are set against them (`paper_protocol`), methods are ranked across the tasks on which all
can be compared, and the claims of the paper are tested (`claims`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pedro_bench.analysis.cells import Column, cell_of
from pedro_bench.analysis.claims import verdicts
from pedro_bench.analysis.comparability import are_shared
from pedro_bench.analysis.comparison import Ranks, ranks
from pedro_bench.analysis.judging import judge
from pedro_bench.analysis.paper_protocol import departures
from pedro_bench.analysis.papers import MICRO, Layout, label_of, paper_score, plain, published_of
from pedro_bench.analysis.row_runs import RowRuns, printed_names
from pedro_bench.analysis.table import Line, Section, most_parameters


@dataclass(frozen=True)
class SectionPlan:
    """What a section is made of besides its rows.

    Attributes:
        backbone: Its backbone.
        data: Name of the data source.
        layout: The paper's table that it is of, None where there is none.
        columns: The table's columns.
        is_planned: For each of them, whether the layout or the records of this backbone have it.
        published_columns: Columns that only the paper has.
        is_measured: Whether runs are repeats of a measurement of the device.
    """

    backbone: str
    data: str
    layout: Layout | None
    columns: Sequence[Column]
    is_planned: Sequence[bool]
    published_columns: Sequence[Column]
    is_measured: bool

    @property
    def is_micro(self) -> bool:
        """Whether backbone or data are the embedded ones."""
        return MICRO in (self.backbone, self.data)


def section_of(plan: SectionPlan, rows: Sequence[RowRuns]) -> Section:
    """Return the section with everything computed of it."""
    layout = plan.layout
    names = printed_names(rows)
    lines = [_line(plan, row, name) for row, name in zip(rows, names, strict=True)]
    for number in range(len(plan.columns)):
        judge([line.cells[number] for line in lines])
    if layout:
        _add_published(plan, layout, lines)
    return Section(
        backbone=plan.backbone,
        label=_label(plan.backbone, rows),
        is_micro=plan.is_micro,
        lines=lines,
        ranks=_ranks(lines, plan.columns),
        verdicts=verdicts(layout.name, lines, plan.columns) if layout else (),
    )


def _line(plan: SectionPlan, row: RowRuns, label: str) -> Line:
    shown = list(row.shown)
    return Line(
        method=row.method,
        label=label,
        settings=row.settings,
        group=plan.layout.group_of(row.method) if plan.layout else 0,
        matrices=most_parameters(shown, "matrices"),
        trainable=most_parameters(shown, "trainable"),
        cells=[
            cell_of(
                column,
                row.tasks.get(column.task, {}),
                is_planned=is_planned,
                is_measured=plan.is_measured,
            )
            for column, is_planned in zip(plan.columns, plan.is_planned, strict=True)
        ],
    )


def _label(backbone: str, rows: Sequence[RowRuns]) -> str:
    """Return the backbone's printed name, in plain text, as its first run has it."""
    first = next((run for row in rows for run in row.begun), None)
    own = dict(first.config.get("backbone") or {}).get("label") if first else None
    return plain(str(own or label_of("backbones", backbone)))


def _add_published(plan: SectionPlan, layout: Layout, lines: Sequence[Line]) -> None:
    """Write the paper's numbers into rows, and where a difference from them has a meaning.

    A backbone that the paper's table lacks is shown next to the numbers of the table's first one, and not
    compared with them.
    """
    scores = published_of(layout.paper, layout.table)
    is_there = any(key[0] == plan.backbone for key in scores)
    source = plan.backbone if is_there else layout.backbones[0]
    may_compare = is_there and not plan.is_micro and not plan.is_measured
    for line in lines:
        for cell in line.cells:
            column = cell.column
            cell.published = paper_score(scores, source, line.method, column.task, column.metric)
            cell.departures = departures(cell.shown, layout.paper) if cell.published else ()
            cell.is_comparable = may_compare and not cell.departures
        line.published_only = [
            paper_score(scores, source, line.method, one.task, one.metric)
            for one in plan.published_columns
        ]


def _ranks(lines: Sequence[Line], columns: Sequence[Column]) -> Ranks | None:
    """Rank the rows by their medians on every task; cells with fewer seeds than others have no rank."""
    number_of_task = _ranked_columns(lines, columns)
    return ranks(
        {
            line.name: {
                task: columns[number].sign * round(spread.median, 2)
                for task, number in number_of_task.items()
                if (spread := line.cells[number].spread) is not None
                and not line.cells[number].short_of
            }
            for line in lines
        }
    )


def _ranked_columns(lines: Sequence[Line], columns: Sequence[Column]) -> dict[str, int]:
    """Return task -> number of the column that ranks its methods: that of its main metric, else the first.

    Metrics of one task are no independent tasks. A task on which some methods cannot be compared has none.
    """
    found: dict[str, int] = {}
    for number, column in enumerate(columns):
        cells = [line.cells[number] for line in lines]
        if are_shared(cell.conditions for cell in cells):
            is_main = any(run.main_metric == column.metric for cell in cells for run in cell.shown)
            if is_main or column.task not in found:
                found[column.task] = number
    return found
