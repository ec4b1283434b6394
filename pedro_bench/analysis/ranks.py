"""Ranks: which method is ahead across tasks, after Friedman (1937) and Nemenyi (Demšar 2006).

On every task the methods are ranked by their medians, 1 for the best, ties sharing the mean of their
ranks. Only methods and tasks without a gap between them take part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Ranks:
    """Average ranks over tasks.

    Attributes:
        average: Method -> mean rank over the tasks, in the order given.
        tasks: Tasks that took part.
        statistic: Friedman's chi-squared, None under three methods or two tasks.
        p: Its p value, likewise.
        critical_difference: Average ranks further apart than this differ at 5% (Nemenyi), likewise.
    """

    average: Mapping[str, float]
    tasks: tuple[str, ...]
    statistic: float | None = None
    p: float | None = None
    critical_difference: float | None = None


def ranks(medians: Mapping[str, Mapping[str, float]]) -> Ranks | None:
    """Rank methods across tasks.

    Args:
        medians: Method -> task -> median. Methods without any number are left out; then tasks that
            one of the others lacks.

    Returns:
        The ranks, or None where fewer than two methods or no task is left.
    """
    methods = [name for name, found in medians.items() if found]
    if len(methods) < 2:
        return None
    tasks = [t for t in medians[methods[0]] if all(t in medians[name] for name in methods)]
    if not tasks:
        return None
    scores = np.array([[medians[name][task] for task in tasks] for name in methods])
    places = stats.rankdata(-scores, axis=0)
    average = dict(zip(methods, places.mean(axis=1).tolist(), strict=True))
    if len(methods) < 3 or len(tasks) < 2:
        return Ranks(average, tuple(tasks))
    if bool((places == places[0]).all()):  # all equal on every task: the statistic is 0 / 0
        return Ranks(average, tuple(tasks), 0.0, 1.0, _critical(len(methods), len(tasks)))
    found = stats.friedmanchisquare(*scores)
    return Ranks(
        average,
        tuple(tasks),
        float(found.statistic),
        float(found.pvalue),
        _critical(len(methods), len(tasks)),
    )


def _critical(methods: int, tasks: int) -> float:
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, methods, np.inf)) / sqrt(2)
    return quantile * sqrt(methods * (methods + 1) / (6 * tasks))
