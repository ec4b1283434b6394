"""Medians, spreads, ranks, and 95% bootstrap intervals of a cell's median.

Over seeds and examples, each of RESAMPLES times the seeds are drawn with replacement, and the test
examples likewise (one draw for all seeds, which answered the same examples); the median over the drawn
seeds of the mean over the drawn examples is taken, and the interval holds the middle 95% of them. The
draws depend on SEED and on the numbers of seeds and examples alone, so a cell's interval does not depend
on which other cells are shown.

Over seeds alone, where no example has a score, the distribution of the median of n draws among n values
has a closed form, and nothing is drawn.

Five seeds are few: both intervals are a little too narrow (a bootstrap of n values has (n - 1)/n of
their variance), and no interval over seeds alone is wider than the range of the seeds. That range holds the
median in 1 - 2 / 2^n of cases: 93.75% for five seeds, 87.5% for four, half for two. Below FEWEST seeds
there is no interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, fsum, sqrt
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """A cell's scores over seeds.

    Attributes:
        values: The scores, in order of seeds.
        median: Their true median.
        lower_quartile: First quartile, linear between neighbours (NumPy's default).
        upper_quartile: Third quartile, likewise.
        least: Smallest score.
        greatest: Largest score.
        deviation: Standard deviation with n - 1, None for a single score.
    """

    values: tuple[float, ...]
    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    greatest: float
    deviation: float | None

    @property
    def seeds(self) -> int:
        """Number of scores."""
        return len(self.values)


def spread(values: Sequence[float]) -> Spread:
    """Describe scores over seeds, at least one."""
    ordered = sorted(float(value) for value in values)
    return Spread(
        values=tuple(float(value) for value in values),
        median=float(median(ordered)),
        lower_quartile=_quantile(ordered, 0.25),
        upper_quartile=_quantile(ordered, 0.75),
        least=ordered[0],
        greatest=ordered[-1],
        deviation=_deviation(ordered) if len(ordered) > 1 else None,
    )


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation with n - 1; `statistics.stdev` reckons in fractions, ten times slower."""
    mean = fmean(values)
    return sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


RESAMPLES = 2000
SEED = 20260101
CONFIDENCE = 0.95

FEWEST = 5
"""Seeds below which no interval comes near CONFIDENCE."""

_AT_ONCE = 250
"""Draws held in memory together."""


@dataclass(frozen=True)
class Interval:
    """An interval of a median.

    Attributes:
        low: Lower end.
        high: Upper end.
        examples: Number of test examples that were drawn, 0 where seeds alone were.
    """

    low: float
    high: float
    examples: int


def seed_interval(scores: Sequence[float]) -> Interval | None:
    """Return the exact bootstrap interval over seeds; None below FEWEST of them.

    Args:
        scores: One score a seed.
    """
    if len(scores) < FEWEST:
        return None
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    lower, upper, weights = _median_distribution(len(scores))
    values = (ordered[list(lower)] + ordered[list(upper)]) / 2
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(np.asarray(weights)[order])
    tail = (1 - CONFIDENCE) / 2
    low = values[order][np.searchsorted(reached, tail)]
    high = values[order][np.searchsorted(reached, 1 - tail - 1e-12)]
    return Interval(float(low), float(high), 0)


def range_coverage(n: int) -> float:
    """Return how often the range of n draws holds the median: unless all fall on one side of it.

    Args:
        n: Number of draws, from any continuous distribution.
    """
    return float(1 - 2 * 0.5**n)


@lru_cache(maxsize=64)
def _median_distribution(n: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Return (lower place, upper place, probability) of the median of n draws among n ordered values."""
    half = n // 2
    if n % 2:
        reach = [_at_least(n, half + 1, k / n) for k in range(n + 1)]
        return tuple(range(n)), tuple(range(n)), tuple(np.diff(reach).tolist())
    places = []
    for low in range(n):
        at_low = _at_least(n, half, (low + 1) / n) - _at_least(n, half, low / n)
        apart = 0.0
        for high in range(low + 1, n):
            below = ((low + 1) / n) ** half - (low / n) ** half
            above = ((n - high) / n) ** half - ((n - high - 1) / n) ** half
            places.append((low, high, comb(n, half) * below * above))
            apart += places[-1][2]
        places.append((low, low, at_low - apart))
    lower, upper, weights = zip(*places, strict=True)
    return lower, upper, weights


def _at_least(n: int, count: int, chance: float) -> float:
    """Chance that at least `count` of n independent draws, each with `chance`, succeed."""
    return sum(
        comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(max(count, 0), n + 1)
    )


def example_intervals(cells: Mapping[str, NDArray[np.float64]]) -> dict[str, Interval | None]:
    """Return the interval over seeds and examples of every cell of one task.

    Args:
        cells: Name -> scores (seeds, examples), the same examples in all; None is returned for a
            cell with fewer than FEWEST seeds.
    """
    if not cells:
        return {}
    num_examples = next(iter(cells.values())).shape[1]
    means = _resampled_means(np.concatenate(list(cells.values())), num_examples)
    found: dict[str, Interval | None] = {}
    start = 0
    for name, scores in cells.items():
        own = means[:, start : start + len(scores)]
        start += len(scores)
        found[name] = _interval(own, num_examples) if len(scores) >= FEWEST else None
    return found


def _resampled_means(scores: NDArray[np.float64], num_examples: int) -> NDArray[np.float64]:
    """Return (RESAMPLES, seeds): the mean of every row over drawn examples."""
    draw = np.random.default_rng([SEED, num_examples])
    parts = []
    for start in range(0, RESAMPLES, _AT_ONCE):
        rows = min(_AT_ONCE, RESAMPLES - start)
        picks = draw.integers(0, num_examples, (rows, num_examples))
        picks += np.arange(rows)[:, None] * num_examples
        counts = np.bincount(picks.ravel(), minlength=rows * num_examples)
        parts.append(counts.reshape(rows, num_examples) @ scores.T / num_examples)
    return np.concatenate(parts)


def _interval(means: NDArray[np.float64], num_examples: int) -> Interval:
    seeds = means.shape[1]
    draw = np.random.default_rng([SEED, num_examples, seeds])
    picks = draw.integers(0, seeds, means.shape)
    middle = np.median(np.take_along_axis(means, picks, axis=1), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(middle, [tail, 1 - tail])
    return Interval(float(low), float(high), num_examples)
