"""Comparison: whether two methods differ by more than their seeds and test examples would anyway.

Scores are crossed: every seed of method A (S_A of them) and of method B (S_B) answers the same n test
examples. The difference of the mean scores has two sources of chance, and a claim about methods must
survive both: other seeds, and other test examples.

    difference = mean of A - mean of B
    variance   = var(seed means of A) / S_A + var(seed means of B) / S_B + var(d) / n - R_A - R_B
    d_i        = mean over A's seeds of the score of example i, less the same of B (the pairing)
    R          = what is left of a method's scores without their seed and example means (mean square,
                 (S - 1)(n - 1) degrees of freedom) / (S n): it is in the first terms and in the last

The variance is taken as no less than that of either source alone. The ratio difference / sqrt(variance)
is compared with Student's t whose degrees of freedom are Satterthwaite's. With no variance among seeds
it is the paired t test over examples; with no scores of single examples it is Welch's t test over seeds,
which has nothing to go by where all seeds of either method score the same.

Why not the usual two: a sign-flip test over examples takes the trained models as they are, and calls up
to a third of equal methods different where seeds matter; a bootstrap of seeds and examples draws from
five seeds and counts the noise of single answers twice, which leaves it blind where seeds hardly differ.
`scripts/calibration.py` measures all three (docs/statistics.md).

Ranks across tasks follow Friedman (1937) and Nemenyi (Demšar 2006): on every task the methods are ranked by
their medians, 1 for the best, ties sharing the mean of their ranks. Only methods and tasks without a gap
between them take part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

ALPHA = 0.05
"""A difference counts below this p, corrected for the number of comparisons."""

ROUNDING = 1e-12
"""Share of the greatest score up to which a difference is one of sums in another order, and so none."""

NO_SPREAD = (
    "all scores of either method are the same, and no example has one to estimate chance from"
)
"""Why seeds alone may be too little; coarse scores agree by accident."""


@dataclass(frozen=True)
class Difference:
    """One method's scores less another's.

    Attributes:
        difference: Of the means over seeds (and examples), with its 95% interval from `low` to `high`.
        p: Two-sided p, not corrected.
        seeds: Number of seeds of either method.
        examples: Number of paired test examples, 0 where seeds alone could be compared.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: tuple[int, int]
    examples: int


def compare_examples(a: NDArray[np.float64], b: NDArray[np.float64]) -> Difference:
    """Compare scores (seeds, examples) of two methods on the same examples; two of each at least."""
    noise = _noise(a, b)
    paired = a.mean(axis=0) - b.mean(axis=0)
    terms = [
        (_variance_of_mean(a.mean(axis=1), noise), len(a) - 1),
        (_variance_of_mean(b.mean(axis=1), noise), len(b) - 1),
        (_variance_of_mean(paired, noise), len(paired) - 1),
    ]
    counted_twice = _residual(a) + _residual(b)
    difference = _settled(float(paired.mean()), noise)
    return _comparison(difference, terms, (len(a), len(b)), len(paired), counted_twice)


def compare_seeds(
    a: Sequence[float], b: Sequence[float], *, is_exact: bool = False
) -> Difference | str:
    """Compare two methods over seeds alone: Welch's t test.

    Args:
        a: One score a seed, at least two.
        b: The other method's scores.
        is_exact: Whether scores that agree have no chance in them, as a device's memory has none.

    Returns:
        The comparison of `a` less `b`, or NO_SPREAD.
    """
    if len(set(a)) == len(set(b)) == 1 and not is_exact:
        return NO_SPREAD
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    noise = _noise(first, second)
    terms = [
        (_variance_of_mean(first, noise), len(first) - 1),
        (_variance_of_mean(second, noise), len(second) - 1),
    ]
    difference = _settled(float(first.mean() - second.mean()), noise)
    return _comparison(difference, terms, (len(first), len(second)), 0)


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """Correct p values for their number after Holm (1979); in the order given, at most 1.

    Args:
        p_values: Not corrected.
        family: Number of comparisons that they were chosen from, where that is more than their own; the
            least p is taken times this number, the next times one less, and so on.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for place, index in enumerate(order):
        factor = (family or len(p_values)) - place
        highest = max(highest, min(1.0, factor * p_values[index]))
        corrected[index] = highest
    return corrected


def _noise(*scores: NDArray[np.float64]) -> float:
    """Return up to which difference two means of some scores are the same."""
    return ROUNDING * max(float(np.abs(one).max()) for one in scores)


def _settled(difference: float, noise: float) -> float:
    return 0.0 if abs(difference) <= noise else difference


def _variance_of_mean(values: NDArray[np.float64], noise: float) -> float:
    """Return the variance of the mean of some values, 0 where they differ by no more than `noise`."""
    if float(np.ptp(values)) <= noise:
        return 0.0
    return float(np.var(values, ddof=1)) / len(values)


def _residual(scores: NDArray[np.float64]) -> float:
    """Return the part of a mean's variance that is neither the seeds' nor the examples'."""
    rest = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    seeds, examples = scores.shape
    squares = float(np.square(rest).sum())
    return squares / float((seeds - 1) * (examples - 1) * seeds * examples)


def _comparison(
    difference: float,
    terms: Sequence[tuple[float, int]],
    seeds: tuple[int, int],
    examples: int,
    counted_twice: float = 0.0,
) -> Difference:
    of_seeds, of_examples = sum(term for term, _ in terms[:2]), sum(term for term, _ in terms[2:])
    variance = max(of_seeds + of_examples - counted_twice, of_seeds, of_examples)
    if variance == 0:
        # Every seed and every example agree: what is left is the sign test over examples.
        of_signs = 0.5 ** (examples - 1) if examples else 0.0
        p = of_signs if difference else 1.0
        return Difference(difference, difference, difference, p, seeds, examples)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    freedom = max(freedom, float(min(degrees for term, degrees in terms if term > 0)))
    error = variance**0.5
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    reach = float(special.stdtrit(freedom, 0.975)) * error
    return Difference(difference, difference - reach, difference + reach, p, seeds, examples)


@dataclass(frozen=True)
class Ranks:
    """Average ranks over tasks: method -> mean rank, in the order given.

    Under three methods or two tasks there is no test: `statistic` (Friedman's chi-squared), its `p` and
    `critical_difference` (average ranks further apart differ at 5%, Nemenyi) are None.
    """

    average: Mapping[str, float]
    tasks: tuple[str, ...]
    statistic: float | None = None
    p: float | None = None
    critical_difference: float | None = None


def ranks(medians: Mapping[str, Mapping[str, float]]) -> Ranks | None:
    """Rank methods across tasks, from method -> task -> median; None below two methods or without a task.

    Methods without any number are left out; then tasks that one of the others lacks.
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
    quantile = float(stats.studentized_range.ppf(1 - ALPHA, methods, np.inf)) / sqrt(2)
    return quantile * sqrt(methods * (methods + 1) / (6 * tasks))
