"""Markdown: a report as tables with their captions and notes."""

from collections.abc import Sequence

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.cells import Block, GridRow, Text
from pedro_bench.reporting.latex import COMMAND
from pedro_bench.reporting.report import Report

_MARKS = {1: "**%s**", 2: "<u>%s</u>"}


def markdown(report: Report) -> str:
    """Return one Markdown table for each block of a report."""
    tables = "\n".join(_table(block) for block in blocks(report))
    return f"<!-- made by {COMMAND} -->\n{tables}"


def _table(block: Block) -> str:
    width = len(block.header)
    rules = ["---"] * block.text_columns + ["---:"] * (width - block.text_columns)
    lines = [
        block.caption,
        "",
        _pipes(block.header),
        _pipes(rules),
        *(_row(row, width) for row in block.rows),
        "",
        *(f"- {note}" for note in block.notes),
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
