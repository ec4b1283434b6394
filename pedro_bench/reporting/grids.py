"""Grids: a table as plain grids of text, which LaTeX, Markdown and the page only have to dress.

A table has up to seven: the scores as the paper shows them; their spread and intervals; every method
against the best; the paper's numbers with differences; what the runs cost, where that is asked for;
average ranks; verdicts on the paper's claims.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pedro_bench.analysis.cells import FULL_SEEDS, Cell
from pedro_bench.analysis.comparability import OTHER_PROTOCOLS, OTHER_RUNS
from pedro_bench.analysis.papers import PublishedScore, plain
from pedro_bench.analysis.statistics import FEWEST, range_coverage
from pedro_bench.analysis.table import Line, Section, Table, Verdict
from pedro_bench.reporting.captions import absent_tasks, caption, missing, missing_of, on_backbone
from pedro_bench.reporting.notes import is_of_paper, notes
from pedro_bench.reporting.numbers import MISSING, amount, cost_columns, counted, p_text

LEGEND = (
    "Best bold, second underlined; † differs from the best (p < 0.05, corrected after Holm for all pairs of "
    "a column)."
)


@dataclass(frozen=True)
class Text:
    """One cell of a grid.

    Attributes:
        plain: Its text.
        label: The method's name in LaTeX that it begins with, empty where there is none.
        place: 1 to be set bold, 2 to be underlined.
        differs: Whether a dagger follows.
    """

    plain: str
    label: str = ""
    place: int = 0
    differs: bool = False


@dataclass(frozen=True)
class GridRow:
    """One row: its cells, whether a rule is above it, its method; one cell alone is a heading."""

    cells: tuple[Text, ...]
    has_rule: bool = False
    method: str = ""


@dataclass(frozen=True)
class Grid:
    """One grid with its caption and notes; numbers are right of the first `text_columns`.

    `tasks` are those of its columns, empty where a column is of none.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1
    tasks: tuple[str, ...] = ()


@lru_cache(maxsize=4)  # LaTeX and Markdown are made of one table after each other
def grids(table: Table, *, costs: bool = False) -> tuple[Grid, ...]:
    """Return the grids of a table that have any content, the scores first."""
    tasks = tuple(column.task for column in table.columns)
    headings = tuple(column.heading for column in table.columns)
    scores = Grid(
        caption(table),
        ("Method", "Params", *headings),
        _rows(table, lambda line: (Text(amount(line.matrices)), *map(_score, line.cells))),
        (LEGEND, *_missing(table), *notes(table)),
        tasks=("", "", *tasks),
    )
    of = f"{table.name}{' (micro results)' if table.is_micro else ''}"
    spread = Grid(
        f"Spread over {table.over}, {of}: 95% bootstrap interval of the median, interquartile range, "
        "standard deviation.",
        ("Method", *headings),
        _rows(table, lambda line: tuple(map(_spread, line.cells))),
        _over(table),
        tasks=("", *tasks),
    )
    against = Grid(
        f"Difference from the best of each column, {of}: difference of means over {table.over}, "
        "and p corrected after Holm for all pairs of the column.",
        ("Method", *headings),
        _rows(table, lambda line: tuple(map(_from_best, line.cells))),
        _untested(table),
        tasks=("", *tasks),
    )
    others = [spread, against, _published(table, of)]
    others += [cost_grid(table, of)] if costs else []
    others += [_ranks(table, of), _claims(table, of)]
    return (scores, *(one for one in others if any(map(_has_content, one.rows))))


def _has_content(row: GridRow) -> bool:
    return any(cell.plain not in (MISSING, "best") for cell in row.cells[1:])


def _rows(table: Table, cells: Callable[[Line], tuple[Text, ...]]) -> tuple[GridRow, ...]:
    """Return a grid's rows: each line's name and its cells, under a heading for each backbone."""
    rows: list[GridRow] = []
    for section in table.sections:
        if len(table.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        before: Line | None = None
        for line in section.lines:
            has_rule = before is not None and before.group != line.group
            rows.append(GridRow((label_of(line), *cells(line)), has_rule, line.method))
            before = line
    return tuple(rows)


def label_of(line: Line) -> Text:
    """Return a row's printed name: the method, and the settings that separate it from others."""
    settings = f" ({line.settings})" if line.settings else ""
    return Text(plain(line.label) + settings, line.label)


def _missing(table: Table) -> tuple[str, ...]:
    """Name every cell without a score, a row with none as one."""
    if not missing(table):
        return ()
    found = []
    for section in table.sections:
        on = on_backbone(section, table)
        for line in section.lines:
            absent = absent_tasks(line)
            if len(line.cells) > 1 and all(cell.spread is None for cell in line.cells):
                found.append(f"{line.name}{on}")
            elif absent:
                found.append(f"{line.name} on {', '.join(absent)}{on}")
    return (f"Missing, {missing_of(table)}: {'; '.join(found)}.",)


def _score(cell: Cell) -> Text:
    if cell.spread is None:
        return Text(cell.status if cell.status in ("failed", "unfinished") else MISSING)
    count = f" (n={cell.spread.seeds})" if cell.spread.seeds < FULL_SEEDS else ""
    return Text(f"{cell.spread.median:.2f}{count}", "", cell.place, differs(cell))


def differs(cell: Cell) -> bool:
    """Whether a cell differs from the best of its column."""
    return cell.from_best is not None and cell.from_best.separates


def _spread(cell: Cell) -> Text:
    if cell.spread is None or cell.spread.deviation is None:
        return Text(MISSING)
    between = cell.spread.upper_quartile - cell.spread.lower_quartile
    found = cell.interval
    interval = f"[{found.low:.2f}, {found.high:.2f}] " if found else ""
    return Text(f"{interval}IQR {between:.2f} sd {cell.spread.deviation:.2f}")


def _over(table: Table) -> tuple[str, ...]:
    """Say what the intervals were drawn over, and where there is none."""
    having = [cell for _, _, cell in table.places if cell.spread is not None]
    drawn = [cell.interval.examples for cell in having if cell.interval is not None]
    both = f"Intervals over {table.over} and test examples"
    found = []
    if drawn and all(drawn):
        found.append(f"{both}.")
    elif any(drawn):
        found.append(f"{both}, where predictions hold a score of each example.")
    alone = [cell for cell in having if cell.interval is not None and not cell.interval.examples]
    if drawn and not any(drawn):
        reasons = dict.fromkeys(cell.reason for cell in alone)
        found.append(f"Intervals over {table.over} alone: {'; '.join(reasons)}.")
    if any(cell.spread and cell.spread.seeds == FEWEST for cell in alone):
        found.append(
            f"Over {FEWEST} {table.over} alone it is their range, which holds the median in "
            f"{range_coverage(FEWEST):.2%} of cases."
        )
    if any(cell.interval is None for cell in having):
        found.append(f"No interval below {FEWEST} {table.over}.")
    return tuple(found)


def _from_best(cell: Cell) -> Text:
    if cell.from_best is None:
        return Text("best" if cell.place == 1 else MISSING)
    tested = cell.from_best
    return Text(f"{tested.comparison.difference:+.2f} ({p_text(tested.p)})")


def _untested(table: Table) -> tuple[str, ...]:
    """Say which cells could not be compared, and which not over the examples that they have."""
    found: dict[str, list[str]] = {}
    for section, line, cell in table.places:
        if reason := _doubt(cell, table.over):
            place = f"{line.name} on {cell.column.task}{on_backbone(section, table)}"
            found.setdefault(reason, []).append(place)
    return tuple(
        f"{reason}: {', '.join(dict.fromkeys(places))}." for reason, places in found.items()
    )


def _doubt(cell: Cell, over: str) -> str:
    if cell.untested:
        return f"Not compared: {cell.untested}"
    had = cell.num_examples
    used = cell.from_best.comparison.examples if cell.from_best else had
    if used < had:
        return f"Over {over} alone, as the best has no scores of the same examples"
    return ""


def _published(table: Table, of: str) -> Grid:
    def cells(line: Line) -> tuple[Text, ...]:
        own = []
        for cell in line.cells:
            difference = "" if cell.difference is None else f" ({cell.difference:+.2f})"
            printed = _printed(cell.published) if cell.published else MISSING
            own.append(f"{printed}{difference}")
        own += [MISSING if one is None else one.printed for one in line.published_only]
        return tuple(map(Text, own))

    having = [cell for _, _, cell in table.places if cell.published]
    lines = [line for section in table.sections for line in section.lines]
    sources = sorted({cell.published.source for cell in having if cell.published})
    sources += sorted({one.source for line in lines for one in line.published_only if one})
    comparable = {cell.is_comparable for cell in having}
    where = ", where backbone, data and protocol are the paper's" if len(comparable) > 1 else ""
    if True in comparable:
        told = [f"In brackets: our median less the published number{where}."]
    elif all(is_of_paper(section, table) for section in table.sections):
        told = ["No run was made by the paper's protocol, so no differences are taken."]
    else:
        told = [
            "The paper's backbone and data, or its device, are others, so no differences are taken."
        ]
    if any(cell.published and cell.published.deviation is not None for cell in having):
        told.append("± is the paper's standard deviation over its seeds.")
    columns = (*table.columns, *table.published_columns)
    return Grid(
        f"Published numbers ({', '.join(dict.fromkeys(sources))}) for {of}.",
        ("Method", *(column.heading for column in columns)),
        _rows(table, cells),
        tuple(told),
        tasks=("", *(column.task for column in columns)),
    )


def _printed(one: PublishedScore) -> str:
    """Return a published number with its deviation, where the paper gives one."""
    return one.printed if one.deviation is None else f"{one.printed} ± {one.deviation:g}"


def cost_grid(table: Table, of: str) -> Grid:
    """Return what a run of each row costs."""
    lines = [line for section in table.sections for line in section.lines]
    columns = cost_columns(line.costs for line in lines)
    header = ("Method", *(column.heading for column in columns))
    note = (
        f"Median over the row's tasks and {table.over}; of memory, size and operations the greatest. Times "
        "and energy depend on the device and on what else it did. Operations are those of the matrix "
        "products that the method adds to a pass over a prompt, without element-wise work; forgotten is the "
        "rise of the loss on plain text in nats a token."
    )
    return Grid(
        f"What a run costs, {of}.",
        header,
        _rows(table, lambda line: tuple(Text(column.of(line.costs)) for column in columns)),
        (note,),
    )


def _ranks(table: Table, of: str) -> Grid:
    """Return the methods in order of their average ranks, for each section that has them."""
    rows: list[GridRow] = []
    found: list[str] = []
    for section in table.sections:
        if section.ranks is None:
            continue
        if len(table.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        average = section.ranks.average
        ranked = [line for line in section.lines if line.name in average]
        rows += [
            GridRow((label_of(line), Text(f"{average[line.name]:.2f}")), method=line.method)
            for line in sorted(ranked, key=lambda line: average[line.name])
        ]
        found.append(_rank_note(section))
    title = f"Average rank across tasks, {of} (1 is best)."
    return Grid(title, ("Method", "Rank"), tuple(rows), tuple(found), tasks=("", ""))


def _rank_note(section: Section) -> str:
    found = section.ranks
    assert found is not None
    tasks = counted(len(found.tasks), "task")
    over = f"{section.label}: {len(found.average)} methods on {tasks}"
    if found.p is None or found.statistic is None:
        return f"{over}; too few for a test."
    return (
        f"{over}; Friedman chi-squared {found.statistic:.2f}, {p_text(found.p)}; ranks further apart "
        f"than {found.critical_difference:.2f} differ at 5% (Nemenyi)."
    )


def _claims(table: Table, of: str) -> Grid:
    """Return the verdicts on those claims that the runs could test; the others are counted."""
    rows: list[GridRow] = []
    found: list[str] = []
    for section in table.sections:
        shown = [one for one in section.verdicts if one.tested is not None or _has_runs(one)]
        if shown and len(table.sections) > 1:
            rows.append(GridRow((Text(section.label),), has_rule=bool(rows)))
        rows += [_claim_row(one, table.over) for one in shown]
        total = len(section.verdicts)
        if without := total - len(shown):
            found.append(
                f"{section.label}: {without} of {total} claims lack the runs to test them."
            )
        reasons = dict.fromkeys(one.reason for one in shown if one.tested is None)
        found += [f"{section.label}: not testable, {reason}." for reason in reasons]
    if any(one.kind != "above" for section in table.sections for one in section.verdicts):
        found.append(
            "What is within a margin is decided by the 95% interval of the difference, without a p; the "
            "margins are ours."
        )
    title = f"Claims of the paper, {of}: p corrected after Holm over all claims that one is above another."
    header = ("Claim", "Source", "Verdict", "p", "n", "Difference")
    return Grid(title, header, tuple(rows), tuple(found), text_columns=5, tasks=("",) * 6)


def _has_runs(verdict: Verdict) -> bool:
    """Whether both methods have runs, which cannot be compared."""
    return verdict.reason.startswith((OTHER_PROTOCOLS, OTHER_RUNS))


_THAN = {"above": "above", "comparable": "within {} of", "not_below": "at most {} below"}


def _claim_row(verdict: Verdict, over: str) -> GridRow:
    than = _THAN[verdict.kind].format(verdict.margin)
    claim = f"{plain(verdict.method)} {than} {plain(verdict.other)} on {verdict.task}"
    if verdict.tested is None:
        word = f"{verdict.verdict}: {verdict.reason.partition(' (')[0]}"
        return GridRow(tuple(map(Text, (claim, verdict.source, word, *[MISSING] * 3))))
    comparison = verdict.tested.comparison
    p = p_text(verdict.tested.p) if verdict.kind == "above" else MISSING
    first, other = comparison.seeds
    examples = f", {comparison.examples} examples" if comparison.examples else " alone"
    sample = f"{first}+{other} {over}{examples}"
    difference = f"{comparison.difference:+.2f}"
    cells = (claim, verdict.source, verdict.verdict, p, sample, difference)
    return GridRow(tuple(map(Text, cells)))
