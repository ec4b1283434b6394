"""Claims of the papers (`claims.toml`) and verdicts: what the records say of them.

`above` is supported where the method's scores are better and the test separates them, contradicted where
they are worse and it does, else not separable. A claim with a margin is supported where the 95% interval
of the difference lies within what the claim allows, contradicted where it lies outside, else not
separable. The p values of all `above` comparisons of one section are corrected together, after Holm; those
of the others answer another question than the verdict, and are not shown.

An average over columns is compared over seeds: the first seed's mean over all columns, the second's, and
so on, of either method.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

from pedro_bench.analysis.cells import Column, Tested, compare
from pedro_bench.analysis.comparability import reason_against
from pedro_bench.analysis.comparison import ALPHA, Difference, compare_seeds, holm
from pedro_bench.analysis.papers import label_of, layouts
from pedro_bench.analysis.table import (
    CONTRADICTED,
    NOT_SEPARABLE,
    NOT_TESTABLE,
    SUPPORTED,
    Line,
    Verdict,
)
from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "claims.toml"

ABOVE, COMPARABLE, NOT_BELOW = "above", "comparable", "not_below"
KINDS = (ABOVE, COMPARABLE, NOT_BELOW)

POINTS, PERCENT = "points", "percent"

AVERAGE = "average"
"""Name that stands for the task where a claim is about the mean over columns."""


@dataclass(frozen=True)
class Claim:
    """One comparison that a paper makes.

    Attributes:
        source: Section or table that makes it.
        table: Name of the table whose records decide it.
        kind: ABOVE (the method scores better), COMPARABLE (the two differ by at most the margin), or
            NOT_BELOW (the method is at most the margin worse).
        method: The method it is about.
        others: The methods it is compared with.
        margin: What the two may differ by, in `unit`; 0 for ABOVE.
        unit: POINTS, or PERCENT of the other method's score.
        average: Whether it is about the mean over the columns instead of each of them.
        tasks: Tasks that it is about; none: every task of the table.
        metrics: Metrics that it is about; none: every metric of the table.
    """

    source: str
    table: str
    kind: str
    method: str
    others: tuple[str, ...]
    margin: float = 0.0
    unit: str = POINTS
    average: bool = False
    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"the claim of {self.source} in {FILE.name}"
        if self.kind not in KINDS:
            raise DataError(f"{where} must have a kind of {', '.join(KINDS)}, got {self.kind!r}.")
        if self.unit not in (POINTS, PERCENT):
            raise DataError(f"{where} must have the unit points or percent, got {self.unit!r}.")
        if (self.margin > 0) != (self.kind != ABOVE):
            raise DataError(
                f"{where} must have a margin above 0 unless its kind is {ABOVE}, got {self.margin}."
            )

    @property
    def allowed(self) -> str:
        """The margin in words, such as `1 point` or `5%`; empty for ABOVE."""
        if self.kind == ABOVE:
            return ""
        if self.unit == PERCENT:
            return f"{self.margin:g}%"
        return f"{self.margin:g} point{'' if self.margin == 1 else 's'}"

    def covers(self, task: str, metric: str | None) -> bool:
        """Return whether a column of the table is one that the claim is about."""
        return (not self.tasks or task in self.tasks) and (
            not self.metrics or metric in self.metrics
        )

    def bounds(self, other: float, sign: int = 1) -> tuple[float, float]:
        """Return the least and the greatest difference (own less `other`) that meet the claim.

        For ABOVE the bound 0 does not meet it. `sign` is -1 where the lesser score is the better one.
        """
        margin = self.margin * abs(other) / 100 if self.unit == PERCENT else self.margin
        least, most = -margin, margin if self.kind == COMPARABLE else inf
        return (least, most) if sign > 0 else (-most, -least)

    def is_met(self, own: float, other: float, sign: int = 1) -> bool:
        """Return whether two scores meet the claim, without regard to chance."""
        least, most = self.bounds(other, sign)
        if self.kind == ABOVE:
            return sign * (own - other) > 0
        return least <= own - other <= most


def scaled(values: tuple[float, ...], claim: Claim, other: float) -> tuple[float, ...]:
    """Return scores of one column as an average over columns takes them.

    They stay as they are in points; with PERCENT they are percent of the other method's mean score.
    """
    if claim.unit == POINTS:
        return values
    return tuple(100 * value / other for value in values)


@lru_cache(maxsize=1)
def claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the file."""
    return tuple(map(_claim, tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]))


def _claim(entry: dict[str, Any]) -> Claim:
    known = {one.name for one in fields(Claim)}
    if unknown := sorted(set(entry) - known):
        raise DataError(f"a claim in {FILE.name} must have only the keys {known}, got {unknown}.")
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    try:
        return Claim(**{**entry, **lists})
    except TypeError as error:
        raise DataError(
            f"a claim in {FILE.name} must have source, table, kind, method and others, got {entry}."
        ) from error


@dataclass(frozen=True)
class _Section:
    """What claims are tested on: rows with their cells, and columns."""

    lines: Sequence[Line]
    columns: Sequence[Column]


@dataclass(frozen=True)
class _Test:
    """One comparison that a claim asks for: two rows (None if the table lacks one), columns to mean."""

    claim: Claim
    other: str
    pair: tuple[int | None, int | None]
    columns: tuple[int, ...]


def verdicts(table: str, lines: Sequence[Line], columns: Sequence[Column]) -> tuple[Verdict, ...]:
    """Return the verdict on each claim of a table; p of the kind `above` are corrected together."""
    section = _Section(lines, columns)
    return _corrected(
        [
            _verdict(section, _Test(claim, other, pair, places))
            for claim in claims()
            if claim.table == table
            for other in claim.others
            for pair in _pairs(section, claim.method, other)
            for places in _places(claim, columns)
        ]
    )


def _places(claim: Claim, columns: Sequence[Column]) -> list[tuple[int, ...]]:
    """Return the numbers of the columns of each comparison: one, or all that it averages.

    A paper says nothing of tasks that only the records have.
    """
    of_paper = {task for task, _ in layouts()[claim.table].columns}
    own = [
        number
        for number, column in enumerate(columns)
        if column.task in of_paper and claim.covers(column.task, column.metric)
    ]
    return [tuple(own)] if claim.average else [(number,) for number in own]


def _pairs(section: _Section, method: str, other: str) -> list[tuple[int | None, int | None]]:
    """Return the numbers of the lines to compare: each of the method's with the other's nearest."""
    lines = section.lines
    own, others = _numbers(section, method), _numbers(section, other)
    if not own or not others:
        return [(own[0] if own else None, others[0] if others else None)]
    return [
        (number, min(others, key=lambda one: (_distance(lines[number], lines[one]), one)))
        for number in own
    ]


def _numbers(section: _Section, method: str) -> list[int]:
    """Return the numbers of a method's rows: of those with runs, where there are any."""
    found = [number for number, line in enumerate(section.lines) if line.method == method]
    having = [n for n in found if any(cell.shown for cell in section.lines[n].cells)]
    return having or found[:1]


def _distance(one: Line, other: Line) -> float:
    if not one.matrices or not other.matrices:
        return 0.0
    return abs(math.log(one.matrices / other.matrices))


def _verdict(section: _Section, test: _Test) -> Verdict:
    claim, (own, other) = test.claim, test.pair
    base = Verdict(
        source=claim.source,
        kind=claim.kind,
        method=_shown(section.lines, own, claim.method),
        other=_shown(section.lines, other, test.other),
        task=_heading(section, test),
        verdict=NOT_TESTABLE,
        tested=None,
        margin=claim.allowed,
        sign=1 if claim.average else section.columns[test.columns[0]].sign,
    )
    if claim.average and (absent := _absent(section, claim)):
        return replace(base, reason=f"the average is over {', '.join(absent)} too, not begun here")
    for line, name in ((own, claim.method), (other, test.other)):
        if reason := _missing(section, line, name, test.columns):
            return replace(base, reason=reason)
    assert own is not None
    assert other is not None
    compared = _averaged if claim.average else _compared
    found, score = compared(section, claim, (own, other), test.columns)
    if isinstance(found, str):
        return replace(base, reason=found)
    if claim.kind == ABOVE:
        return replace(base, verdict=NOT_SEPARABLE, tested=Tested(found, found.p, separates=False))
    bounds = claim.bounds(score, base.sign)
    return replace(
        base, verdict=_within(found, bounds), tested=Tested(found, found.p, found.p < ALPHA)
    )


def _absent(section: _Section, claim: Claim) -> list[str]:
    """Return the tasks of the paper's table that an average is over and that have no column here."""
    tasks = dict.fromkeys(task for task, _ in layouts()[claim.table].columns)
    there = {column.task for column in section.columns}
    return [one for one in tasks if one not in there and (not claim.tasks or one in claim.tasks)]


def _missing(section: _Section, line: int | None, name: str, columns: tuple[int, ...]) -> str:
    """Return which run is missing for a comparison, empty where none is."""
    for number in columns:
        if line is None or not section.lines[line].cells[number].values:
            column = section.columns[number]
            has_runs = line is not None and section.lines[line].cells[number].shown
            metric = f" has {column.metric}" if has_runs else ""
            return f"no finished run of {name} on {column.task}{metric}"
    return ""


def _compared(
    section: _Section, claim: Claim, pair: tuple[int, int], columns: tuple[int, ...]
) -> tuple[Difference | str, float]:
    """Compare two cells; the number is the other method's mean score."""
    own, other = (section.lines[line].cells[columns[0]] for line in pair)
    return compare(own, other), fmean(other.values)


def _averaged(
    section: _Section, claim: Claim, pair: tuple[int, int], columns: tuple[int, ...]
) -> tuple[Difference | str, float]:
    """Compare two rows' averages over columns; the number is the other method's average."""
    scores: list[list[tuple[float, ...]]] = [[], []]
    for number in columns:
        own, other = (section.lines[line].cells[number] for line in pair)
        if reason := reason_against(own.conditions, other.conditions):
            return reason, 0.0
        sign, mean = section.columns[number].sign, fmean(other.values)
        if claim.unit == PERCENT and mean == 0:
            return f"nothing is a percentage of the score 0 on {section.columns[number].task}", 0.0
        for values, kept in zip((own.values, other.values), scores, strict=True):
            kept.append(tuple(sign * one for one in scaled(values, claim, mean)))
    for kept in scores:
        if len({len(values) for values in kept}) > 1 or len(kept[0]) < 2:
            return "an average needs the same number of seeds on every task, two at least", 0.0
    first, second = (tuple(map(fmean, zip(*kept, strict=True))) for kept in scores)
    return compare_seeds(first, second), fmean(second)


def _corrected(found: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Correct the p values of all claims of the kind `above` together, and decide them."""
    above = [one for one in found if one.kind == ABOVE and one.tested is not None]
    p_values = iter(holm([one.tested.comparison.p for one in above if one.tested is not None]))
    decided = []
    for one in found:
        if one.kind == ABOVE and one.tested is not None:
            p, comparison = next(p_values), one.tested.comparison
            separates = p < ALPHA
            word = SUPPORTED if one.sign * comparison.difference > 0 else CONTRADICTED
            one = replace(
                one,
                verdict=word if separates else NOT_SEPARABLE,
                tested=Tested(comparison, p, separates),
            )
        decided.append(one)
    return tuple(decided)


def _within(found: Difference, bounds: tuple[float, float]) -> str:
    """Return whether an interval lies within bounds, outside them, or across one."""
    least, most = bounds
    if least <= found.low and found.high <= most:
        return SUPPORTED
    return CONTRADICTED if found.low > most or found.high < least else NOT_SEPARABLE


def _heading(section: _Section, test: _Test) -> str:
    """Return the column's printed name, with its metric where several columns share the name."""
    if test.claim.average:
        return AVERAGE
    column = section.columns[test.columns[0]]
    is_shared = [one.label for one in section.columns].count(column.label) > 1
    return column.heading if is_shared else column.label


def _shown(lines: Sequence[Line], number: int | None, method: str) -> str:
    if number is None:
        return label_of("methods", method)
    settings = f" ({lines[number].settings})" if lines[number].settings else ""
    return lines[number].label + settings
