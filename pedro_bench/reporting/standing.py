"""Standing: how the cells of one column stand to each other: places, intervals, tests against the best.

Best and second are decided on two decimals, as they are shown. Every other cell is compared with the best
one (the first of several that share the best median), and the p values of the column are corrected
together, after Holm. Which cell is the best is read from the scores that are then compared, so the family
is that of all pairs: k (k - 1) / 2 for k cells with a score, not the k - 1 comparisons that are made.
"""

from collections.abc import Sequence
from dataclasses import replace

from pedro_bench.reporting.comparison import LEVEL, Comparison, holm
from pedro_bench.reporting.evidence import Evidence, compare
from pedro_bench.reporting.intervals import Interval, example_intervals, seed_interval
from pedro_bench.reporting.report import Entry, Tested


def with_standing(entries: Sequence[Entry], cells: Sequence[Evidence], sign: int) -> list[Entry]:
    """Return a column's entries with their places, intervals and comparisons.

    Args:
        entries: One for each line, with its spread.
        cells: The scores behind them.
        sign: 1 where the greatest score is the best, -1 where the least is.
    """
    placed = _placed(entries, sign)
    found = zip(placed, _intervals(cells), against_best(placed, cells, sign), strict=True)
    return [
        replace(entry, interval=interval, untested=tested)
        if isinstance(tested, str)
        else replace(entry, interval=interval, from_best=tested)
        for entry, interval, tested in found
    ]


def _placed(entries: Sequence[Entry], sign: int) -> list[Entry]:
    """Mark the best and the second best as shown, to two decimals."""
    shown = [None if one.spread is None else sign * round(one.spread.median, 2) for one in entries]
    ordered = sorted({value for value in shown if value is not None}, reverse=True)
    places: dict[float | None, int] = {value: n for n, value in enumerate(ordered[:2], start=1)}
    return [
        replace(one, place=places.get(value, 0)) for one, value in zip(entries, shown, strict=True)
    ]


def against_best(
    entries: Sequence[Entry], cells: Sequence[Evidence], sign: int
) -> list[Tested | str | None]:
    """Compare every cell with the best, and say why where that is impossible.

    Args:
        entries: One for each line, with its spread.
        cells: The scores behind them.
        sign: 1 where the greatest score is the best, -1 where the least is.

    Returns:
        The comparison of each cell less the best, or why there is none; None for the best and for cells
        without a score.
    """
    medians = [(sign * one.spread.median, -n) for n, one in enumerate(entries) if one.spread]
    if not medians:
        return [None] * len(entries)
    best = -max(medians)[1]
    found: list[Comparison | str | None] = [
        compare(evidence, cells[best]) if number != best and evidence.values else None
        for number, evidence in enumerate(cells)
    ]
    pairs = len(medians) * (len(medians) - 1) // 2
    corrected = iter(holm([one.p for one in found if isinstance(one, Comparison)], pairs))
    tested: list[Tested | str | None] = []
    for one in found:
        if isinstance(one, Comparison):
            p = next(corrected)
            tested.append(Tested(one, p, p < LEVEL))
        else:
            tested.append(one)
    return tested


def _intervals(cells: Sequence[Evidence]) -> list[Interval | None]:
    """Return every cell's interval; cells with the same number of examples share the draws."""
    found: dict[int, Interval | None] = {}
    sizes: dict[int, dict[int, Evidence]] = {}
    for number, evidence in enumerate(cells):
        if evidence.examples is None:
            found[number] = seed_interval(evidence.values)
        else:
            sizes.setdefault(evidence.examples.shape[1], {})[number] = evidence
    for own in sizes.values():
        scores = {str(n): one.examples for n, one in own.items() if one.examples is not None}
        found |= {int(name): one for name, one in example_intervals(scores).items()}
    return [found[number] for number in range(len(cells))]
