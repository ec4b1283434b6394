"""Blocks: a report as plain grids of text, which LaTeX and Markdown only have to dress.

A report has up to six: the scores as the paper shows them; their spread and intervals; every method
against the best; the paper's numbers with differences; average ranks; verdicts on the paper's claims.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pedro_bench.reporting.report import (
    FULL_SEEDS,
    NOT_TESTABLE,
    Entry,
    Line,
    Report,
    Section,
    Tested,
    Verdict,
)

MISSING = "--"
"""What stands where no run finished."""

LEGEND = "Best bold, second underlined; † differs from the best (p < 0.05, corrected after Holm)."


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
    """One row: its cells, and whether a rule stands above it; one cell alone is a heading."""

    cells: tuple[Text, ...]
    has_rule: bool = False


@dataclass(frozen=True)
class Block:
    """One grid with its caption and notes; numbers stand right of the first `text_columns`."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1


def blocks(report: Report) -> list[Block]:
    """Return the grids of a report that have any content, the scores first."""
    missing = (f"Missing: {_missing(report)}.",) if report.missing else ()
    columns = [column.heading for column in report.sections[0].columns]
    scores = Block(
        report.caption,
        ("Method", "Params", *columns),
        _rows(report, _score, with_parameters=True),
        (LEGEND, *missing, *report.notes),
    )
    of = f"{report.name}{' (micro results)' if _is_micro(report) else ''}"
    others = [
        Block(
            f"Spread over seeds, {of}: 95% bootstrap interval of the median, interquartile range, "
            "standard deviation.",
            ("Method", *columns),
            _rows(report, _spread),
            (_over(report),),
        ),
        Block(
            f"Difference from the best of each column, {of}: difference of means over seeds, and p "
            "corrected after Holm.",
            ("Method", *columns),
            _rows(report, _from_best),
        ),
        _published(report, of),
        _ranks(report, of),
        _claims(report, of),
    ]
    filled = [one for one in others if any(_says(row) for row in one.rows)]
    return [scores, *filled]


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
    than = "above" if verdict.kind == "above" else f"within {verdict.margin} of"
    return f"{plain(verdict.method)} {than} {plain(verdict.other)} on {verdict.task}"


def sample_text(tested: Tested) -> str:
    """Return how much a comparison stands on: `5+5 seeds, 800 examples`."""
    first, other = tested.comparison.seeds
    examples = tested.comparison.examples
    return f"{first}+{other} seeds" + (f", {examples} examples" if examples else " alone")


def _rows(
    report: Report, cell: Callable[[Entry], Text], *, with_parameters: bool = False
) -> tuple[GridRow, ...]:
    rows: list[GridRow] = []
    for section in report.sections:
        if len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        before: Line | None = None
        for line in section.lines:
            parameters = (Text(amount(line.matrices)),) if with_parameters else ()
            cells = (_label(line), *parameters, *map(cell, line.entries))
            rows.append(GridRow(cells, before is not None and before.group != line.group))
            before = line
    return tuple(rows)


def _missing(report: Report) -> str:
    """Name every cell without a finished run, a row with none as one."""
    found = []
    for section in report.sections:
        on = f" ({section.backbone})" if len(report.sections) > 1 else ""
        for line in section.lines:
            cells = zip(section.columns, line.entries, strict=True)
            absent = [column.task for column, entry in cells if entry.spread is None]
            if len(absent) == len(line.entries) > 1:
                found.append(f"{line.name}{on}")
            elif absent:
                found.append(f"{line.name} on {', '.join(dict.fromkeys(absent))}{on}")
    return "; ".join(found)


def _label(line: Line) -> Text:
    settings = f" ({', '.join(line.settings)})" if line.settings else ""
    return Text(plain(line.label) + settings, line.label + _escaped(settings))


def _escaped(settings: str) -> str:
    return settings.replace("_", r"\_")


def _score(entry: Entry) -> Text:
    if entry.spread is None:
        words = {"failed": "failed", "unfinished": "unfinished"}
        return Text(words.get(entry.status, MISSING))
    count = f" (n={entry.spread.seeds})" if entry.spread.seeds < FULL_SEEDS else ""
    differs = entry.from_best is not None and entry.from_best.separates
    return Text(f"{entry.spread.median:.2f}{count}", None, entry.place, differs)


def _spread(entry: Entry) -> Text:
    if entry.spread is None or entry.interval is None or entry.spread.deviation is None:
        return Text(MISSING)
    between = entry.spread.upper_quartile - entry.spread.lower_quartile
    return Text(
        f"[{entry.interval.low:.2f}, {entry.interval.high:.2f}] IQR {between:.2f} "
        f"sd {entry.spread.deviation:.2f}"
    )


def _over(report: Report) -> str:
    """Say what the intervals were drawn over."""
    found = [
        entry.interval.examples
        for section in report.sections
        for line in section.lines
        for entry in line.entries
        if entry.interval is not None
    ]
    if found and all(found):
        return "Intervals over seeds and test examples."
    if any(found):
        return "Intervals over seeds and test examples, where predictions hold a score of each example."
    return "Intervals over seeds alone: predictions hold no scores of single examples."


def _from_best(entry: Entry) -> Text:
    if entry.from_best is None:
        return Text("best" if entry.place == 1 else MISSING)
    tested = entry.from_best
    return Text(f"{tested.comparison.difference:+.2f} ({p_text(tested.p)})")


def _published(report: Report, of: str) -> Block:
    def cell(entry: Entry) -> Text:
        if entry.published is None:
            return Text(MISSING)
        difference = "" if entry.difference is None else f" ({entry.difference:+.2f})"
        return Text(f"{entry.published.printed}{difference}")

    extra = report.sections[0].published_columns
    rows = []
    lines = [line for section in report.sections for line in section.lines]
    headings = {id(row): row for row in _rows(report, cell)}
    numbered = iter(lines)
    for row in headings.values():
        only = () if len(row.cells) == 1 else next(numbered).published_only
        shown = tuple(Text(MISSING if one is None else one.printed) for one in only)
        rows.append(GridRow((*row.cells, *shown), row.has_rule))
    sources = sorted({entry.published.source for entry in _entries(report) if entry.published})
    sources += sorted({one.source for line in lines for one in line.published_only if one})
    elsewhere = any(entry.published and not entry.is_comparable for entry in _entries(report))
    note = (
        "The paper's backbone and data, or its device, are others, so no differences are taken."
        if elsewhere
        else "In brackets: our median less the published number."
    )
    columns = [column.heading for column in (*report.sections[0].columns, *extra)]
    title = f"Published numbers ({', '.join(dict.fromkeys(sources))}), beside {of}."
    return Block(title, ("Method", *columns), tuple(rows), (note,))


def _ranks(report: Report, of: str) -> Block:
    rows: list[GridRow] = []
    notes: list[str] = []
    for section in report.sections:
        if section.ranks is None:
            continue
        if len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        average = section.ranks.average
        ordered = sorted(
            (line for line in section.lines if line.name in average),
            key=lambda line: average[line.name],
        )
        rows += [GridRow((_label(line), Text(f"{average[line.name]:.2f}"))) for line in ordered]
        notes.append(_rank_note(section))
    title = f"Average rank across tasks, {of} (1 is best)."
    return Block(title, ("Method", "Rank"), tuple(rows), tuple(notes))


def _rank_note(section: Section) -> str:
    found = section.ranks
    assert found is not None
    over = f"{section.label}: {len(found.average)} methods on {len(found.tasks)} tasks"
    if found.p is None or found.statistic is None:
        return f"{over}; too few for a test."
    return (
        f"{over}; Friedman chi-squared {found.statistic:.2f}, {p_text(found.p)}; ranks further apart "
        f"than {found.critical_difference:.2f} differ at 5% (Nemenyi)."
    )


def _claims(report: Report, of: str) -> Block:
    rows: list[GridRow] = []
    notes: list[str] = []
    for section in report.sections:
        tested = [one for one in section.verdicts if one.tested is not None]
        if tested and len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        for one in tested:
            assert one.tested is not None
            p = p_text(one.tested.p)
            cells = (claim_text(one), one.source, one.verdict, p, sample_text(one.tested))
            difference = f"{one.tested.comparison.difference:+.2f}"
            rows.append(GridRow((*map(Text, cells), Text(difference))))
        without = sum(one.verdict == NOT_TESTABLE for one in section.verdicts)
        if without:
            total = len(section.verdicts)
            notes.append(
                f"{section.label}: {without} of {total} claims lack the runs to test them."
            )
    if any(one.kind == "comparable" for section in report.sections for one in section.verdicts):
        notes.append("The margin within which methods count as comparable is ours.")
    title = f"Claims of the paper, {of}: p corrected after Holm for all claims of its kind."
    header = ("Claim", "Source", "Verdict", "p", "n", "Difference")
    return Block(title, header, tuple(rows), tuple(notes), text_columns=5)


def _entries(report: Report) -> list[Entry]:
    return [e for section in report.sections for line in section.lines for e in line.entries]


def _is_micro(report: Report) -> bool:
    return any(section.is_micro for section in report.sections)


def _says(row: GridRow) -> bool:
    """Whether a row says more than that something is missing."""
    cells: Sequence[Text] = row.cells[1:]
    return any(cell.plain not in (MISSING, "best") for cell in cells)
