"""Render: a table as LaTeX (booktabs), Markdown and CSV; the same records give the same bytes."""

import csv
import io
import re
from collections.abc import Sequence

from pedro_bench.reporting.table import Entry, Table

COMMAND = "python -m pedro_bench.cli.tables"

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(table: Table) -> str:
    """Return a `table` environment that needs the package booktabs only."""
    lines = [
        f"% made by {COMMAND}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["Method", *map(escape_latex, table.columns)]) + r" \\",
        r"\midrule",
    ]
    for line in table.lines:
        settings = f" ({escape_latex(line.settings)})" if line.settings else ""
        cells = [line.label + settings, *map(_latex_entry, line.entries)]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escape_latex(note)}" for note in _footnotes(table)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def markdown(table: Table) -> str:
    """Return a Markdown table with its caption and notes."""
    header = ["Method", *table.columns]
    rows = [
        [_plain(line.label) + (f" ({line.settings})" if line.settings else "")]
        + [_markdown_entry(entry) for entry in line.entries]
        for line in table.lines
    ]
    lines = [
        f"<!-- made by {COMMAND} -->",
        table.caption,
        "",
        _pipes(header),
        _pipes(["---", *["---:"] * len(table.columns)]),
        *map(_pipes, rows),
        "",
        "Best bold, second underlined.",
        *(f"- {note}" for note in _footnotes(table)),
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Return one CSV row for each cell: method, settings, column, median, number of seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "settings", "task", "median", "seeds"])
    for line in table.lines:
        for column, entry in zip(table.columns, line.entries, strict=True):
            value = "" if entry.value is None else f"{entry.value:.6g}"
            writer.writerow([_plain(line.label), line.settings, column, value, entry.seeds])
    return text.getvalue()


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special signs stand for themselves."""
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def _footnotes(table: Table) -> list[str]:
    missing = f"Missing: {'; '.join(table.missing)}." if table.missing else ""
    return [note for note in (missing, *table.notes) if note]


def _latex_entry(entry: Entry) -> str:
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    return marks.get(entry.rank, "%s") % entry.text


def _markdown_entry(entry: Entry) -> str:
    marks = {1: "**%s**", 2: "<u>%s</u>"}
    return marks.get(entry.rank, "%s") % entry.text


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _plain(label: str) -> str:
    """Return a LaTeX label without its markup: `(IA)$^3$` becomes `(IA)^3`."""
    return re.sub(r"[${}]", "", re.sub(r"\\([&%#_])", r"\1", label))
