"""Claims: what the papers say (`claims.toml`), and what the records say of it.

`above`: supported where the method's scores are better and the test separates them, contradicted where
they are worse and it does, else not separable. `comparable`: supported where the 95% interval of the
difference lies within the margin, contradicted where it lies outside, else not separable. The p values
of all `above` comparisons of one section are corrected together, after Holm; those of `comparable` ones
test another question than the verdict answers, and are shown nowhere.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean

from pedro_bench.reporting.comparison import LEVEL, Comparison, holm
from pedro_bench.reporting.evidence import Evidence, compare
from pedro_bench.reporting.layouts import label_of
from pedro_bench.reporting.report import (
    CONTRADICTED,
    NOT_SEPARABLE,
    NOT_TESTABLE,
    SUPPORTED,
    Column,
    Line,
    Tested,
    Verdict,
)

FILE = Path(__file__).parent / "claims.toml"

Cells = Mapping[tuple[int, int], Evidence]
"""(number of the line, number of the column) -> evidence."""


@dataclass(frozen=True)
class Claim:
    """One comparison that a paper makes.

    Attributes:
        source: Where it stands.
        table: Name of the table whose records decide it.
        kind: `above` or `comparable`.
        method: The method it is about.
        others: The methods it is compared with.
        margin: Points within which methods are comparable.
        share: The same as a share of the other method's score, where there is no margin in points.
        metrics: Metrics that it is about; none given: every column of the table.
    """

    source: str
    table: str
    kind: str
    method: str
    others: tuple[str, ...]
    margin: float = 0.0
    share: float = 0.0
    metrics: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What methods may differ by and be comparable, in words."""
        if self.kind != "comparable":
            return ""
        if self.share:
            return f"{self.share:.0%}"
        return f"{self.margin:g} point{'' if self.margin == 1 else 's'}"


@lru_cache(maxsize=1)
def claims() -> tuple[Claim, ...]:
    """Read all claims, in the order of the file."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    lists = ("others", "metrics")
    return tuple(
        Claim(**{**entry, **{key: tuple(entry[key]) for key in lists if key in entry}})
        for entry in entries
    )


def verdicts(
    table: str, lines: Sequence[Line], columns: Sequence[Column], cells: Cells
) -> tuple[Verdict, ...]:
    """Decide every claim about a table on one backbone.

    Args:
        table: Name of the layout.
        lines: The section's rows; of several sizes those nearest in parameters are compared.
        columns: Its columns.
        cells: The scores behind its cells.
    """
    labels = [column.label for column in columns]
    found = [
        _verdict(
            claim,
            lines,
            (first, other),
            (number, column),
            cells,
            named,
            is_one_of_several=labels.count(column.label) > 1,
        )
        for claim in claims()
        if claim.table == table
        for named in claim.others
        for first, other in _pairs(lines, claim.method, named)
        for number, column in enumerate(columns)
        if not claim.metrics or column.metric in claim.metrics
    ]
    return _corrected(found)


def _pairs(lines: Sequence[Line], method: str, other: str) -> list[tuple[int | None, int | None]]:
    """Return the numbers of the lines to compare: each of the method's with the other's nearest."""
    own, others = _numbers(lines, method), _numbers(lines, other)
    if not own or not others:
        return [(own[0] if own else None, others[0] if others else None)]
    return [
        (number, min(others, key=lambda one: (_distance(lines[number], lines[one]), one)))
        for number in own
    ]


def _numbers(lines: Sequence[Line], method: str) -> list[int]:
    """Return the numbers of a method's rows: of those with runs, where there are any."""
    found = [number for number, line in enumerate(lines) if line.method == method]
    having = [n for n in found if any(entry.finished for entry in lines[n].entries)]
    return having or found[:1]


def _distance(one: Line, other: Line) -> float:
    if not one.matrices or not other.matrices:
        return 0.0
    return abs(math.log(one.matrices / other.matrices))


def _verdict(
    claim: Claim,
    lines: Sequence[Line],
    pair: tuple[int | None, int | None],
    place: tuple[int, Column],
    cells: Cells,
    named: str,
    *,
    is_one_of_several: bool,
) -> Verdict:
    number, column = place
    first, other = pair
    base = Verdict(
        source=claim.source,
        kind=claim.kind,
        method=_shown(lines, first, claim.method),
        other=_shown(lines, other, named),
        task=column.heading if is_one_of_several else column.label,
        verdict=NOT_TESTABLE,
        tested=None,
        margin=claim.allowed,
        sign=column.sign,
    )
    for line, name in ((first, claim.method), (other, named)):
        if line is None or not cells[line, number].values:
            has_runs = line is not None and lines[line].entries[number].finished
            metric = f" has {column.metric}" if has_runs else ""
            return replace(base, reason=f"no finished run of {name} on {column.task}{metric}")
    assert first is not None
    assert other is not None
    found = compare(cells[first, number], cells[other, number])
    if isinstance(found, str):
        return replace(base, reason=found)
    if claim.kind == "comparable":
        margin = claim.share * abs(fmean(cells[other, number].values)) or claim.margin
        tested = Tested(found, found.p, found.p < LEVEL)
        return replace(base, verdict=_within(found, margin), tested=tested)
    return replace(base, verdict=NOT_SEPARABLE, tested=Tested(found, found.p, separates=False))


def _corrected(found: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Correct the p values of all claims of the kind `above` together, and decide them."""
    above = [one for one in found if one.kind == "above" and one.tested is not None]
    p_values = iter(holm([one.tested.comparison.p for one in above if one.tested is not None]))
    decided = []
    for one in found:
        if one.kind == "above" and one.tested is not None:
            p, comparison = next(p_values), one.tested.comparison
            separates = p < LEVEL
            word = SUPPORTED if one.sign * comparison.difference > 0 else CONTRADICTED
            one = replace(
                one,
                verdict=word if separates else NOT_SEPARABLE,
                tested=Tested(comparison, p, separates),
            )
        decided.append(one)
    return tuple(decided)


def _within(found: Comparison, margin: float) -> str:
    if -margin <= found.low and found.high <= margin:
        return SUPPORTED
    return CONTRADICTED if found.low > margin or found.high < -margin else NOT_SEPARABLE


def _shown(lines: Sequence[Line], number: int | None, method: str) -> str:
    if number is None:
        return label_of("methods", method)
    settings = f" ({', '.join(lines[number].settings)})" if lines[number].settings else ""
    return lines[number].label + settings
