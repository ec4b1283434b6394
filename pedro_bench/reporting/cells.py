"""Cells: what a table shows as plain text, and numbers in words; LaTeX and Markdown only dress it."""

import re
from dataclasses import dataclass

from pedro_bench.reporting.escaping import escape_latex
from pedro_bench.reporting.report import Line, Tested, Verdict

MISSING = "--"
"""What stands where no run finished."""


@dataclass(frozen=True)
class Text:
    """One cell of a grid.

    Attributes:
        plain: Its text.
        latex: The same with LaTeX's markup, where it is not `plain` escaped.
        place: 1 to be set bold, 2 to be underlined.
        differs: Whether a dagger follows.
    """

    plain: str
    latex: str | None = None
    place: int = 0
    differs: bool = False


@dataclass(frozen=True)
class GridRow:
    """One row: its cells, whether a rule stands above it, its method; one cell alone is a heading."""

    cells: tuple[Text, ...]
    has_rule: bool = False
    method: str = ""


@dataclass(frozen=True)
class Block:
    """One grid with its caption and notes; numbers stand right of the first `text_columns`."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1


def plain(label: str) -> str:
    """Return a LaTeX label without its markup: `(IA)$^3$` becomes `(IA)^3`."""
    return re.sub(r"\\[A-Za-z]+|[${}]", "", re.sub(r"\\([&%#_])", r"\1", label))


def amount(count: int | None) -> str:
    """Return a number of parameters as papers print it: 8945664 becomes 8.9M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count is not None and count >= size:
            return f"{count / size:.1f}{unit}"
    return MISSING if count is None else str(count)


def p_text(p: float) -> str:
    """Return a p value for people: three decimals, `p<0.001` below."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"


def claim_text(verdict: Verdict) -> str:
    """Return a claim in words, in plain text: `PEDRO above LoRA on BoolQ`."""
    than = {
        "above": "above",
        "comparable": f"within {verdict.margin} of",
        "not_below": f"at most {verdict.margin} below",
    }[verdict.kind]
    return f"{plain(verdict.method)} {than} {plain(verdict.other)} on {verdict.task}"


def sample_text(tested: Tested, over: str) -> str:
    """Return how much a comparison stands on: `5+5 seeds, 800 examples`; `over` is the word for seeds."""
    first, other = tested.comparison.seeds
    examples = tested.comparison.examples
    return f"{first}+{other} {over}" + (f", {examples} examples" if examples else " alone")


def label_of(line: Line) -> Text:
    """Return the first cell of a line: the method, and the settings that tell it from others."""
    settings = f" ({', '.join(line.settings)})" if line.settings else ""
    return Text(plain(line.label) + settings, line.label + escape_latex(settings))
