"""Evidence: the scores behind the cells of a column, and what they say of each cell against the best.

The scores of single test examples come from predictions. A cell whose predictions are gone, changed since
they were recorded, or without scores is compared over seeds alone, and the reason is kept.

Best and second are decided on two decimals, as they are shown. Every other cell is compared with the best
one (the first of several that share the best median), and the p values of the column are corrected
together, after Holm. Which cell is the best is read from the scores that are then compared, so the family
is that of all pairs: k (k - 1) / 2 for k cells with a score, not the k - 1 comparisons that are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pedro_bench.analysis.comparability import Conditions, conditions_of, reason_against
from pedro_bench.analysis.comparison import (
    LEVEL,
    Comparison,
    compare_examples,
    compare_seeds,
    holm,
)
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.intervals import Interval, example_intervals, seed_interval
from pedro_bench.analysis.reading import Run, example_scores
from pedro_bench.analysis.statistics import median

EXACT = frozenset({"memory_mib"})
"""Metrics without chance where repeats agree; elsewhere scores agree because they are coarse."""


@dataclass(frozen=True)
class Evidence:
    """What a cell's runs scored.

    Attributes:
        values: One score a seed.
        examples: Scores (seeds, examples), or None.
        test_rows: Fingerprint of the test rows that the examples are.
        reason: Why there are no scores of examples, else empty.
        is_lost: Whether that is because recorded predictions are gone, changed or unreadable.
        is_exact: Whether values that agree have no chance in them.
        conditions: What the runs were made under, which is compared only with its like.
        finished: Number of finished runs, those without the metric too.
    """

    values: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    test_rows: str | None = None
    reason: str = ""
    is_lost: bool = False
    is_exact: bool = False
    conditions: Conditions | None = None
    finished: int = 0


def evidence_of(runs: Sequence[Run], metric: str, *, is_measured: bool = False) -> Evidence:
    """Collect the scores of a cell's finished runs.

    Args:
        runs: Finished runs of one cell.
        metric: The column's metric; runs without it are left out.
        is_measured: Whether they are repeats of a measurement of the device.
    """
    having = [run for run in runs if metric in run.scores]
    found = Evidence(
        tuple(run.scores[metric] for run in having),
        is_exact=metric in EXACT,
        conditions=conditions_of(having, is_measured=is_measured),
        finished=len(runs),
    )
    if any(run.main_metric != metric for run in having):
        return replace(found, reason=f"examples have no {metric} of their own")
    if len({run.fingerprint("test") for run in having}) > 1:
        return replace(found, reason="seeds were scored on different test rows")
    if not all(run.predictions for run in having):
        return replace(found, reason="predictions were not recorded")
    rows, lost = _rows(having)
    if lost:
        return replace(found, reason=lost, is_lost=True)
    if any(None in row for row in rows):
        return replace(found, reason="predictions hold no scores of single examples")
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return replace(found, reason="there are no two examples that all seeds answered")
    return replace(
        found, examples=np.array(rows, dtype=np.float64), test_rows=having[0].fingerprint("test")
    )


def compare(a: Evidence, b: Evidence) -> Comparison | str:
    """Compare two cells over seeds and examples, or over seeds alone where there is no more.

    Returns:
        The comparison of `a` less `b`, or why it is impossible.
    """
    if len(a.values) < 2 or len(b.values) < 2:
        return "a comparison needs two finished runs of each method"
    if reason := reason_against(a.conditions, b.conditions):
        return reason
    same_rows = a.test_rows == b.test_rows and _num_examples(a) == _num_examples(b)
    if a.examples is not None and b.examples is not None and same_rows:
        return compare_examples(a.examples, b.examples)
    return compare_seeds(a.values, b.values, is_exact=a.is_exact and b.is_exact)


def _num_examples(evidence: Evidence) -> int:
    return 0 if evidence.examples is None else evidence.examples.shape[1]


def _rows(runs: Sequence[Run]) -> tuple[list[list[float | None]], str]:
    """Return the scores of every run in order of its rows, and which predictions cannot be had."""
    rows = []
    lost: dict[str, list[str]] = {}
    for run in runs:
        found = example_scores(run)
        if isinstance(found, str):
            lost.setdefault(found, []).append(str(run.seed))
        else:
            rows.append(found)
    what = [f"the predictions of seed {', '.join(seeds)} are {why}" for why, seeds in lost.items()]
    return rows, " and ".join(what)


@dataclass(frozen=True)
class Tested:
    """A comparison with its p corrected for the number of comparisons made with it."""

    comparison: Comparison
    p: float
    separates: bool


def compare_frames(a: pd.DataFrame, b: pd.DataFrame, metric: str | None = None) -> Comparison | str:
    """Compare two sets of finished runs of `results`, such as those of two methods on one task.

    Args:
        a: Rows of one method; no two have the same seed.
        b: Rows of the other.
        metric: The metric; None is the runs' main metric.

    Returns:
        The comparison of `a` less `b`, its p not corrected, or why it is impossible.
    """
    first, second = ([run for run in runs_of(one) if run.status == "finished"] for one in (a, b))
    name = metric or next((run.main_metric for run in (*first, *second)), "")
    return compare(evidence_of(first, name), evidence_of(second, name))


def places(medians: Sequence[float | None], sign: int) -> list[int]:
    """Return 1 for the best, 2 for the second best as shown, to two decimals, else 0.

    Args:
        medians: Those of a column.
        sign: 1 where the greatest score is the best, -1 where the least is.
    """
    shown = [None if one is None else sign * round(one, 2) for one in medians]
    ordered = sorted({value for value in shown if value is not None}, reverse=True)
    found: dict[float | None, int] = {value: n for n, value in enumerate(ordered[:2], start=1)}
    return [found.get(value, 0) for value in shown]


def against_best(cells: Sequence[Evidence], sign: int) -> list[Tested | str | None]:
    """Compare every cell of a column with the best.

    Args:
        cells: The scores of each cell.
        sign: 1 where the greatest score is the best, -1 where the least is.

    Returns:
        The comparison of each cell less the best, or why there is none; None for the best and for cells
        without a score.
    """
    medians = [(sign * median(one.values), -n) for n, one in enumerate(cells) if one.values]
    if not medians:
        return [None] * len(cells)
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


def intervals(cells: Sequence[Evidence]) -> list[Interval | None]:
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
