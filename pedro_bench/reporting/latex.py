"""LaTeX: a report as `table` environments that need the package booktabs only."""

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.cells import Block, GridRow, Text
from pedro_bench.reporting.report import Report

COMMAND = "python -m pedro_bench.cli.tables"

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "†": r"$^\dagger$",
        "−": r"$-$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
_WIDE = 5
"""Columns above which a table is set small."""

_MARKS = {1: r"\textbf{%s}", 2: r"\underline{%s}"}


def latex(report: Report) -> str:
    """Return one `table` environment for each block of a report."""
    tables = "\n".join(_table(block) for block in blocks(report))
    return f"% made by {COMMAND}\n{tables}"


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special signs stand for themselves."""
    return text.translate(_ESCAPES)


def _table(block: Block) -> str:
    width = len(block.header)
    kinds = "l" * block.text_columns + "r" * (width - block.text_columns)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        *([r"\scriptsize\setlength{\tabcolsep}{3pt}"] if width > _WIDE else []),
        rf"\caption{{{escape_latex(block.caption)}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        " & ".join(map(escape_latex, block.header)) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(block.rows):
        if row.has_rule and number:
            lines.append(r"\midrule")
        lines.append(_row(row, width))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escape_latex(note)}" for note in block.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _row(row: GridRow, width: int) -> str:
    if len(row.cells) == 1:
        heading = escape_latex(row.cells[0].plain)
        return rf"\multicolumn{{{width}}}{{c}}{{\emph{{{heading}}}}} \\"
    return " & ".join(map(_cell, row.cells)) + r" \\"


def _cell(cell: Text) -> str:
    text = escape_latex(cell.plain) if cell.latex is None else cell.latex
    return _MARKS.get(cell.place, "%s") % text + (r"$^\dagger$" if cell.differs else "")
