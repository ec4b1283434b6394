"""Text: a table as Markdown, with captions and notes, and as CSV, one row a cell."""

from collections.abc import Sequence

import pandas as pd

from pedro_bench.analysis.table import Table
from pedro_bench.reporting.grids import Grid, GridRow, Text, grids

COMMAND = "python -m pedro_bench.cli.tables"

_MARKS = {1: "**%s**", 2: "<u>%s</u>"}


def comma_separated(table: Table, *, costs: bool = False) -> str:
    """Return a table's cells as CSV: `Table.cells`, with `Table.costs` where they are asked for.

    Numbers have ten digits, so that the last bits of another machine's arithmetic do not show; an empty
    field is a number that does not exist.
    """
    cells = pd.concat([table.cells, table.costs], axis=1) if costs else table.cells
    text: str = cells.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    return text


def markdown(table: Table, *, costs: bool = False) -> str:
    """Return one Markdown table for each grid of a table."""
    made = "\n".join(map(_grid, grids(table, costs=costs)))
    return f"<!-- made by {COMMAND} -->\n{made}"


def _grid(grid: Grid) -> str:
    width = len(grid.header)
    rules = ["---"] * grid.text_columns + ["---:"] * (width - grid.text_columns)
    lines = [
        grid.caption,
        "",
        _pipes(grid.header),
        _pipes(rules),
        *(_row(row, width) for row in grid.rows),
        "",
        *(f"- {note}" for note in grid.notes),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(row: GridRow, width: int) -> str:
    if len(row.cells) == 1:
        return _pipes([f"*{row.cells[0].plain}*", *[""] * (width - 1)])
    return _pipes([_cell(cell) for cell in row.cells])


def _cell(cell: Text) -> str:
    return _MARKS.get(cell.place, "%s") % cell.plain + ("†" if cell.differs else "")


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
