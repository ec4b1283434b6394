"""Blocks: a report as plain grids of text, which LaTeX and Markdown only have to dress.

A report has up to six: the scores as the paper shows them; their spread and intervals; every method
against the best; the paper's numbers with differences; average ranks; verdicts on the paper's claims.
"""

from collections.abc import Callable, Sequence

from pedro_bench.reporting.cells import MISSING, Block, GridRow, Text, amount, label_of, p_text
from pedro_bench.reporting.columns import entries_under, shared_columns
from pedro_bench.reporting.conclusions import claim_block, rank_block
from pedro_bench.reporting.intervals import FEWEST, range_coverage
from pedro_bench.reporting.labels import with_rows_told_apart
from pedro_bench.reporting.notes import absent_tasks
from pedro_bench.reporting.report import FULL_SEEDS, Entry, Line, Report, on_backbone

LEGEND = (
    "Best bold, second underlined; † differs from the best (p < 0.05, corrected after Holm for all pairs of "
    "a column)."
)


def blocks(report: Report) -> list[Block]:
    """Return the grids of a report that have any content, the scores first."""
    report = with_rows_told_apart(report)
    missing = (f"Missing: {_missing(report)}.",) if report.missing else ()
    columns = [column.heading for column in shared_columns(report.sections)]
    scores = Block(
        report.caption,
        ("Method", "Params", *columns),
        _rows(report, _score, with_parameters=True),
        (LEGEND, *missing, *report.notes),
    )
    of = f"{report.name}{' (micro results)' if _is_micro(report) else ''}"
    others = [
        Block(
            f"Spread over {report.over}, {of}: 95% bootstrap interval of the median, interquartile range, "
            "standard deviation.",
            ("Method", *columns),
            _rows(report, _spread),
            _over(report),
        ),
        Block(
            f"Difference from the best of each column, {of}: difference of means over {report.over}, "
            "and p corrected after Holm for all pairs of the column.",
            ("Method", *columns),
            _rows(report, _from_best),
            _doubts(report),
        ),
        _published(report, of),
        rank_block(report, of),
        claim_block(report, of),
    ]
    filled = [one for one in others if any(_says(row) for row in one.rows)]
    return [scores, *filled]


def _rows(
    report: Report, cell: Callable[[Entry], Text], *, with_parameters: bool = False
) -> tuple[GridRow, ...]:
    rows: list[GridRow] = []
    columns = shared_columns(report.sections)
    for section in report.sections:
        if len(report.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        before: Line | None = None
        for line, entries in entries_under(columns, section):
            parameters = (Text(amount(line.matrices)),) if with_parameters else ()
            cells = (label_of(line), *parameters, *map(cell, entries))
            has_rule = before is not None and before.group != line.group
            rows.append(GridRow(cells, has_rule, line.method))
            before = line
    return tuple(rows)


def _missing(report: Report) -> str:
    """Name every cell without a score, a row with none as one."""
    found = []
    for section in report.sections:
        on = on_backbone(section, report.sections)
        for line in section.lines:
            absent = absent_tasks(section.columns, line)
            if len(line.entries) > 1 and all(entry.spread is None for entry in line.entries):
                found.append(f"{line.name}{on}")
            elif absent:
                found.append(f"{line.name} on {', '.join(absent)}{on}")
    return "; ".join(found)


def _score(entry: Entry) -> Text:
    if entry.spread is None:
        words = {"failed": "failed", "unfinished": "unfinished"}
        return Text(words.get(entry.status, MISSING))
    count = f" (n={entry.spread.seeds})" if entry.spread.seeds < FULL_SEEDS else ""
    differs = entry.from_best is not None and entry.from_best.separates
    return Text(f"{entry.spread.median:.2f}{count}", None, entry.place, differs)


def _spread(entry: Entry) -> Text:
    if entry.spread is None or entry.spread.deviation is None:
        return Text(MISSING)
    between = entry.spread.upper_quartile - entry.spread.lower_quartile
    found = entry.interval
    interval = f"[{found.low:.2f}, {found.high:.2f}] " if found else ""
    return Text(f"{interval}IQR {between:.2f} sd {entry.spread.deviation:.2f}")


def _over(report: Report) -> tuple[str, ...]:
    """Say what the intervals were drawn over, and where there is none."""
    having = [entry for entry in _entries(report) if entry.spread is not None]
    drawn = [entry.interval.examples for entry in having if entry.interval is not None]
    told = []
    if drawn and all(drawn):
        told.append(f"Intervals over {report.over} and test examples.")
    elif any(drawn):
        told.append(
            f"Intervals over {report.over} and test examples, where predictions hold a score of each "
            "example."
        )
    elif drawn:
        told.append(
            f"Intervals over {report.over} alone: predictions hold no scores of single examples."
        )
    alone = [e for e in having if e.interval is not None and not e.interval.examples]
    if any(entry.spread and entry.spread.seeds == FEWEST for entry in alone):
        told.append(
            f"Over {FEWEST} {report.over} alone it is their range, which holds the median in "
            f"{range_coverage(FEWEST):.2%} of cases."
        )
    if any(entry.interval is None for entry in having):
        told.append(f"No interval below {FEWEST} {report.over}.")
    return tuple(told)


def _from_best(entry: Entry) -> Text:
    if entry.from_best is None:
        return Text("best" if entry.place == 1 else MISSING)
    tested = entry.from_best
    return Text(f"{tested.comparison.difference:+.2f} ({p_text(tested.p)})")


def _doubts(report: Report) -> tuple[str, ...]:
    """Say which cells could not be compared, and which not over the examples that they have."""
    told: dict[str, list[str]] = {}
    for section in report.sections:
        on = on_backbone(section, report.sections)
        for line in section.lines:
            for column, entry in zip(section.columns, line.entries, strict=True):
                if reason := _doubt(entry, report.over):
                    told.setdefault(reason, []).append(f"{line.name} on {column.task}{on}")
    return tuple(
        f"{reason}: {', '.join(dict.fromkeys(places))}." for reason, places in told.items()
    )


def _doubt(entry: Entry, over: str) -> str:
    if entry.untested:
        return f"Not compared: {entry.untested}"
    had = entry.interval.examples if entry.interval else 0
    used = entry.from_best.comparison.examples if entry.from_best else had
    return (
        f"Over {over} alone, as the best has no scores of the same examples" if used < had else ""
    )


def _published(report: Report, of: str) -> Block:
    def cell(entry: Entry) -> Text:
        if entry.published is None:
            return Text(MISSING)
        difference = "" if entry.difference is None else f" ({entry.difference:+.2f})"
        return Text(f"{entry.published.printed}{difference}")

    extra = report.sections[0].published_columns
    rows = []
    lines = [line for section in report.sections for line in section.lines]
    numbered = iter(lines)
    for row in _rows(report, cell):
        only = () if len(row.cells) == 1 else next(numbered).published_only
        shown = tuple(Text(MISSING if one is None else one.printed) for one in only)
        rows.append(GridRow((*row.cells, *shown), row.has_rule, row.method))
    sources = sorted({entry.published.source for entry in _entries(report) if entry.published})
    sources += sorted({one.source for line in lines for one in line.published_only if one})
    having = {entry.is_comparable for entry in _entries(report) if entry.published}
    where = ", where backbone, data and protocol are the paper's" if len(having) > 1 else ""
    note = (
        f"In brackets: our median less the published number{where}."
        if True in having
        else "The paper's backbone and data, or its device, are others, so no differences are taken."
    )
    columns = [column.heading for column in (*shared_columns(report.sections), *extra)]
    title = f"Published numbers ({', '.join(dict.fromkeys(sources))}), beside {of}."
    return Block(title, ("Method", *columns), tuple(rows), (note,))


def _entries(report: Report) -> list[Entry]:
    return [e for section in report.sections for line in section.lines for e in line.entries]


def _is_micro(report: Report) -> bool:
    return any(section.is_micro for section in report.sections)


def _says(row: GridRow) -> bool:
    """Whether a row says more than that something is missing."""
    cells: Sequence[Text] = row.cells[1:]
    return any(cell.plain not in (MISSING, "best") for cell in cells)
