"""Captions: what a table shows, and which of its cells are without a score."""

from pedro_bench.analysis.papers import SEEDS, is_small
from pedro_bench.analysis.table import Line, Section, Table
from pedro_bench.reporting.numbers import plural

MICRO_MARK = "micro results: embedded backbone or data"


def caption(table: Table) -> str:
    """Return what a table shows, marked as micro where any part of it is."""
    layout = table.layout
    mark = f" ({MICRO_MARK})" if table.is_micro else ""
    backbones = ", ".join(section.backbone for section in table.sections)
    what = f"{layout.title} ({layout.paper}, Table {layout.table}). " if layout else ""
    what = what.replace("Table figure", "Figure")
    noun = plural("backbone", len(table.sections))
    over = "seeds on the test split" if table.over == SEEDS else table.over
    return (
        f"{what}Suite {table.suite}, {noun} {backbones}, data {table.data}{mark}: median over "
        f"{over}."
    )


def on_backbone(section: Section, table: Table) -> str:
    """Return ` (backbone)`, to follow a row's name where a table has several sections, else nothing."""
    return f" ({section.backbone})" if len(table.sections) > 1 else ""


def missing(table: Table) -> list[str]:
    """Return `row on task` for every cell without a score, with the metric where another has one.

    Rows and columns are the paper's, or those that have records: what a grid would have made besides, and has
    not begun, no record tells.
    """
    return [
        f"{line.name} on {task}{on_backbone(section, table)}"
        for section in table.sections
        for line in section.lines
        for task in absent_tasks(line)
    ]


def missing_of(table: Table) -> str:
    """Return what `missing` looks through, to follow `Missing`."""
    if table.layout is None:
        return "of the methods and tasks that have records"
    if is_small(table.suite):
        return "of the paper's methods on the tasks that have records"
    return "of the paper's methods and tasks"


def absent_tasks(line: Line) -> list[str]:
    """Return the tasks on which a row has no score; of several metrics those that it lacks."""
    cells = [cell for cell in line.cells if cell.is_planned]
    scored = {cell.column.task for cell in cells if cell.spread is not None}
    absent = [cell.column for cell in cells if cell.spread is None]
    return list(
        dict.fromkeys(
            f"{one.task} ({one.metric})" if one.task in scored else one.task for one in absent
        )
    )
