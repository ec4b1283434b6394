"""LaTeX: a report as `table` environments that need the package booktabs only, each no larger than a page."""

import re
from collections.abc import Sequence

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.cells import Block, GridRow, Text
from pedro_bench.reporting.escaping import escape_latex
from pedro_bench.reporting.fitting import WIDTH, Part, headings, parts, width_of
from pedro_bench.reporting.report import Report

COMMAND = "python -m pedro_bench.cli.tables"

_MARKS = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
_FEW_LINES = 8
"""Lines of notes that stand in the table itself; more follow it as text, which may run over pages."""
_LONG_WORD = 30
"""Letters above which a word of a note, such as a path, may be broken."""


def latex(report: Report) -> str:
    """Return the `table` environments of a report's blocks."""
    tables = "\n".join(_table(part) for block in blocks(report) for part in parts(block))
    return f"% made by {COMMAND}\n{tables}"


def _table(part: Part) -> str:
    block = part.block
    width = len(block.header)
    kinds = "l" * block.text_columns + "r" * (width - block.text_columns)
    of = f" Part {part.number} of {part.of}." if part.of > 1 else ""
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        *([r"\scriptsize\setlength{\tabcolsep}{3pt}"] if part.is_small else []),
        rf"\caption{{{escape_latex(block.caption + of)}}}",
        r"\smallskip",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        *_header(block),
        r"\midrule",
    ]
    has_space = any(len(texts) > 1 for row in part.lines for texts in row)
    for number, (row, texts) in enumerate(zip(block.rows, part.lines, strict=True)):
        if number:
            lines += [r"\midrule"] if row.has_rule else [r"\addlinespace[2pt]"] * has_space
        lines.append(_row(row, texts, width))
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = [rf"\par\footnotesize {_note(note)}" for note in block.notes]
    if sum(width_of(note, is_small=True) * 1.15 // WIDTH + 1 for note in block.notes) > _FEW_LINES:
        return "\n".join([*lines, r"\end{table}", r"{\raggedright", *notes, r"\par}"]) + "\n"
    space = [r"\par\smallskip"] if notes else []
    return "\n".join([*lines, *space, *notes, r"\end{table}"]) + "\n"


def _header(block: Block) -> list[str]:
    """Return names and, under them, metrics."""
    names, metrics = zip(*headings(block.header), strict=True)
    rows = [names, metrics] if any(metrics) else [names]
    return [" & ".join(map(escape_latex, row)) + r" \\" for row in rows]


def _row(row: GridRow, texts: Sequence[Sequence[str]], width: int) -> str:
    if len(row.cells) == 1:
        heading = escape_latex(row.cells[0].plain)
        return rf"\multicolumn{{{width}}}{{c}}{{\emph{{{heading}}}}} \\"
    return " & ".join(map(_cell, row.cells, texts)) + r" \\"


def _cell(cell: Text, texts: Sequence[str]) -> str:
    lines = list(map(escape_latex, texts)) if cell.latex is None else _marked_up(cell.latex, texts)
    text = lines[0] if len(lines) == 1 else _stacked(lines)
    return _MARKS.get(cell.place, "%s") % text + (r"$^\dagger$" if cell.differs else "")


def _marked_up(markup: str, texts: Sequence[str]) -> list[str]:
    """Break markup where its plain text is broken, word for word."""
    words = markup.split(" ")
    counts = [len(text.split(" ")) for text in texts]
    if len(texts) == 1 or len(words) != sum(counts):
        return [markup] if len(texts) == 1 else list(map(escape_latex, texts))
    return [" ".join(words[sum(counts[:n]) : sum(counts[: n + 1])]) for n in range(len(counts))]


def _stacked(lines: Sequence[str]) -> str:
    return r"\begin{tabular}[t]{@{}l@{}}" + r" \\ ".join(lines) + r"\end{tabular}"


def _note(note: str) -> str:
    """Return a note in which long words, such as a path, may be broken at their signs."""
    return " ".join(map(_breakable, note.split(" ")))


def _breakable(word: str) -> str:
    if len(word) <= _LONG_WORD:
        return escape_latex(word)
    pieces = re.findall(r"[^\W_]{1,20}|[\W_]", word)
    return r"\allowbreak{}".join(map(escape_latex, pieces))
