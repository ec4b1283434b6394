"""Text: a table as LaTeX (`longtable`, which runs over pages), Markdown, and CSV with one row a cell.

A LaTeX document needs the packages booktabs, longtable and pdflscape, as `PREAMBLE` has them. Grids of many
columns are set smaller, the widest on landscape pages. Texts are set with pdflatex's standard fonts and no
further package. What these lack (arrows apart, all that is not Latin or Greek) is shown as its code point,
`[U+4E2D]`, so that a table with the words of an error in it compiles and hides nothing.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from pedro_bench.analysis.papers import plain
from pedro_bench.analysis.table import Table
from pedro_bench.reporting.grids import Grid, GridRow, Text, grids

COMMAND = "python -m pedro_bench.cli.tables"

_MARKDOWN = {1: "**%s**", 2: "<u>%s</u>"}


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
        *(_piped_row(row, width) for row in grid.rows),
        "",
        *(f"- {note}" for note in grid.notes),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _piped_row(row: GridRow, width: int) -> str:
    if len(row.cells) == 1:
        return _pipes([f"*{row.cells[0].plain}*", *[""] * (width - 1)])
    return _pipes([_piped_cell(cell) for cell in row.cells])


def _piped_cell(cell: Text) -> str:
    return _MARKDOWN.get(cell.place, "%s") % cell.plain + ("†" if cell.differs else "")


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


PREAMBLE = r"\usepackage{booktabs,longtable,pdflscape}"

_MARKS = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
_SIZES = ((64, r"\small"), (72, r"\footnotesize"), (82, r"\scriptsize"))
"""(letters of a row up to which a size is set, size); above the last the page is turned."""
_MOST = 130
"""Letters of a row on a turned page; the columns of a wider grid are shared out over several."""
_LONG_WORD = 30
"""Letters above which a word, such as a path, may be broken."""
_WIDEST = 24
"""Letters of a text above which it is set in lines."""


_MATHS = dict(zip(
    "<>|†−→←≤≥≠±×·∞αβγδελμµπσΔΘΣΩ",
    r"< > | ^\dagger - \to \leftarrow \le \ge \ne \pm \times \cdot \infty \alpha \beta \gamma \delta "
    r"\varepsilon \lambda \mu \mu \pi \sigma \Delta \Theta \Sigma \Omega".split(),
    strict=True,
))  # fmt: skip
_TEXT = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **dict.fromkeys("\n\t\r", " "),
    **dict(zip("–—‘’“”\u00a0", ("--", "---", "`", "'", "``", "''", "~"), strict=True)),
    **dict(zip(
        "\\~^…§ßæÆøØłŁœŒı",
        r"\textbackslash{} \textasciitilde{} \textasciicircum{} \ldots{} \S{} \ss{} \ae{} \AE{} \o{} "
        r"\O{} \l{} \L{} \oe{} \OE{} \i{}".split(),
        strict=True,
    )),
}  # fmt: skip
_ACCENTS = dict(zip(
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327",
    r"\` \' \^ \~ \= \u \. \" \r \H \v \c".split(),
    strict=True,
))  # fmt: skip
_DOTLESS = {"i": r"\i", "j": r"\j"}

_ESCAPED = re.compile(r"\\.")
_DOLLAR = re.compile(r"(?<!\\)\$")
_SPECIAL, _SPECIAL_IN_MATHS = re.compile(r"(?<!\\)[&%#_]"), re.compile(r"(?<!\\)[&%#]")
"""In a label: what is escaped already, where formulas begin and end, signs that would break a row."""


def latex(table: Table, *, costs: bool = False) -> str:
    """Return the `longtable` environments of a table's grids."""
    made = [part for grid in grids(table, costs=costs) for part in _parts(grid)]
    return f"% made by {COMMAND}; needs {PREAMBLE}\n" + "\n".join(map(_part, made))


def _widths(grid: Grid) -> list[int]:
    """Return the letters of every column, and two for the space behind it."""
    rows = [row.cells for row in grid.rows if len(row.cells) == len(grid.header)]
    found = []
    for place, heading in enumerate(grid.header):
        own = max((len(cells[place].plain) for cells in rows), default=0)
        own = min(own, _WIDEST) if place < grid.text_columns else own
        found.append(2 + max(own, *map(len, _heading(heading))))
    return found


def _parts(grid: Grid) -> list[Grid]:
    """Return a grid, or several that share out its columns; the last of them has the notes."""
    first, *others = _widths(grid)
    number = -(-sum(others) // (_MOST - first))
    if number == 1 or grid.text_columns > 1:
        return [grid]
    size = -(-len(others) // number)
    shares = [range(n, min(n + size, len(grid.header))) for n in range(1, len(grid.header), size)]
    return [
        Grid(
            f"{grid.caption} Part {part} of {len(shares)}.",
            (grid.header[0], *(grid.header[place] for place in share)),
            tuple(
                replace(row, cells=(row.cells[0], *(row.cells[place] for place in share)))
                if len(row.cells) > 1
                else row
                for row in grid.rows
            ),
            grid.notes if part == len(shares) else (),
        )
        for part, share in enumerate(shares, start=1)
    ]


def _part(grid: Grid) -> str:
    width, widths = len(grid.header), _widths(grid)
    names, metrics = zip(*map(_heading, grid.header), strict=True)
    header = [_cells(names), *([_cells(metrics)] if any(metrics) else []), r"\midrule"]
    size = next((size for most, size in _SIZES if sum(widths) <= most), None)
    kinds = [rf"p{{{0.45 * own:.1f}em}}" if own > _WIDEST else "l" for own in widths]
    kinds = [*kinds[: grid.text_columns], "r" * (width - grid.text_columns)]
    lines = [
        rf"{{{size or _SIZES[-1][1]}\setlength{{\tabcolsep}}{{3pt}}",
        rf"\begin{{longtable}}{{{''.join(kinds)}}}",
        rf"\caption{{{escape_latex(grid.caption)}}} \\",
        *(r"\toprule", *header, r"\endfirsthead"),
        *(r"\toprule", *header, r"\endhead"),
        *(r"\bottomrule", r"\endfoot"),
    ]
    for number, row in enumerate(grid.rows):
        lines += [r"\midrule"] if number and row.has_rule else []
        lines.append(_latex_row(row, width))
    lines += [r"\end{longtable}", *map(_note, grid.notes), r"\par}"]
    if size is None:
        lines = [r"\begin{landscape}", *lines, r"\end{landscape}"]
    return "\n".join(lines) + "\n"


def _heading(text: str) -> tuple[str, str]:
    """Return a heading as its name and the metric in brackets behind it, empty where there is none."""
    name, opening, metric = text.rpartition(" (")
    return (name, f"({metric}") if opening and text.endswith(")") else (text, "")


def _cells(texts: tuple[str, ...]) -> str:
    return " & ".join(map(escape_latex, texts)) + r" \\"


def _latex_row(row: GridRow, width: int) -> str:
    if len(row.cells) == 1:
        heading = escape_latex(row.cells[0].plain)
        return rf"\multicolumn{{{width}}}{{c}}{{\emph{{{heading}}}}} \\*"
    text = " & ".join(map(_cell, row.cells)) + r" \\"
    return "{}" + text if text[0] in "([*" else text  # else part of the command before it


def _cell(cell: Text) -> str:
    own = cell.plain.removeprefix(plain(cell.label))
    text = _label(cell.label) + _breakable(own)
    return _MARKS.get(cell.place, "%s") % text + (r"$^\dagger$" if cell.differs else "")


def _label(label: str) -> str:
    """Return a method's label, which is LaTeX, so that it cannot break its row.

    `&`, `%`, `#`, and `_` outside formulas stand for themselves, and so does what is not ASCII; a label whose
    dollars or braces do not match is set as plain text.
    """
    bare = _ESCAPED.sub("", label)
    if bare.count("$") % 2 or bare.count("{") != bare.count("}"):
        return escape_latex(plain(label))
    parts = enumerate(_DOLLAR.split(label))
    return "$".join(_escaped_label(part, is_formula=number % 2 == 1) for number, part in parts)


def _escaped_label(part: str, *, is_formula: bool) -> str:
    text = (_SPECIAL_IN_MATHS if is_formula else _SPECIAL).sub(r"\\\g<0>", part)
    text = unicodedata.normalize("NFC", text)
    if is_formula:
        text = "".join(one if one.isascii() else f"{_MATHS.get(one, one)} " for one in text)
    return "".join(one if one.isascii() else _escaped(one) for one in text)


def _note(note: str) -> str:
    return rf"\par\noindent\raggedright\footnotesize {_breakable(note)}"


def _breakable(text: str) -> str:
    """Return a text whose long words, such as a path, may be broken at their signs."""
    if len(text) <= _LONG_WORD:
        return escape_latex(text)
    return " ".join(map(_breakable_word, text.split(" ")))


def _breakable_word(word: str) -> str:
    if len(word) <= _LONG_WORD:
        return escape_latex(word)
    pieces = re.findall(r"[^\W_]{1,20}|[\W_]", word)
    return r"\allowbreak{}".join(map(escape_latex, pieces))


def escape_latex(text: str) -> str:
    """Return text in which LaTeX's special signs stand for themselves."""
    if text.isascii() and text.replace(" ", "").isalnum():
        return text
    return "".join(map(_escaped, unicodedata.normalize("NFC", text)))


def _escaped(sign: str) -> str:
    if sign in _TEXT:
        return _TEXT[sign]
    if sign in _MATHS:
        return f"${_MATHS[sign]}$"
    if " " <= sign <= "~":
        return sign
    apart = unicodedata.normalize("NFD", sign)
    letter, accent = apart[0], apart[1:]
    if letter.isascii() and accent in _ACCENTS:
        return f"{_ACCENTS[accent]}{{{_DOTLESS.get(letter, letter)}}}"
    return f"[U+{ord(sign):04X}]"
