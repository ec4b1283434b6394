"""Judging: which cells of a column are best and second, and which differ from the best.

Best and second are decided on two decimals, as they are shown, among the cells with the most seeds of their
column; FULL_SEEDS and more count alike. A cell with fewer is neither: a median of one seed is often the
highest by chance. Where a single cell has the most and others have fewer, the column has no best.

Every other cell is compared with the best one (the first of several that share the best median), and the p
values of the column are corrected together, after Holm. Which cell is the best is read from the scores that
are then compared, so the family is that of all pairs: k (k - 1) / 2 for k cells with a score, not the k - 1
comparisons that are made.
"""

from collections.abc import Sequence

from pedro_bench.analysis.cells import FULL_SEEDS, Cell, Tested, compare
from pedro_bench.analysis.comparison import ALPHA, Difference, holm
from pedro_bench.analysis.statistics import example_intervals, seed_interval


def judge(cells: Sequence[Cell]) -> None:
    """Write into the cells of one column their places, intervals and comparisons with the best."""
    scored = [cell for cell in cells if cell.spread is not None]
    if not scored:
        return
    _add_short_of(scored)
    _add_intervals(scored)
    ranked = [cell for cell in scored if not cell.short_of]
    if len(ranked) == 1 < len(scored):
        return
    _add_places(ranked)
    _compare_with(max(ranked, key=_merit), scored)


def _add_short_of(scored: Sequence[Cell]) -> None:
    """Write into every cell with fewer seeds than others the number that it would need."""
    needed = min(FULL_SEEDS, max(len(cell.values) for cell in scored))
    for cell in scored:
        cell.short_of = needed if len(cell.values) < needed else 0


def _add_intervals(scored: Sequence[Cell]) -> None:
    """Write every cell's interval; cells with the same number of examples share the draws."""
    by_size: dict[int, dict[str, Cell]] = {}
    for number, cell in enumerate(scored):
        if cell.examples is None:
            cell.interval = seed_interval(cell.values)
        else:
            by_size.setdefault(cell.num_examples, {})[str(number)] = cell
    for own in by_size.values():
        scores = {name: one.examples for name, one in own.items() if one.examples is not None}
        for name, interval in example_intervals(scores).items():
            own[name].interval = interval


def _add_places(ranked: Sequence[Cell]) -> None:
    """Write 1 into the cells with the best median as it is shown, 2 into the next, 0 into the others."""
    shown = [_shown_merit(cell) for cell in ranked]
    best_two = sorted(set(shown), reverse=True)[:2]
    for cell, own in zip(ranked, shown, strict=True):
        cell.place = best_two.index(own) + 1 if own in best_two else 0


def _compare_with(best: Cell, scored: Sequence[Cell]) -> None:
    """Write into every other cell its comparison with the best one, corrected for all pairs."""
    tested: list[tuple[Cell, Difference]] = []
    for cell in scored:
        if cell is best:
            continue
        found = compare(cell, best)
        if isinstance(found, str):
            cell.untested = found
        else:
            tested.append((cell, found))
    num_pairs = len(scored) * (len(scored) - 1) // 2
    corrected = holm([found.p for _, found in tested], num_pairs)
    for (cell, found), p in zip(tested, corrected, strict=True):
        cell.from_best = Tested(found, p, p < ALPHA)


def _merit(cell: Cell) -> float:
    """Return the median, negative where the least is the best."""
    assert cell.spread is not None
    return cell.column.sign * cell.spread.median


def _shown_merit(cell: Cell) -> float:
    """Return the same on the two decimals that are shown."""
    assert cell.spread is not None
    return cell.column.sign * round(cell.spread.median, 2)
