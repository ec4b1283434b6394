"""Statistics over seeds, in the standard library alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import fmean


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
    """Describe scores over seeds.

    Args:
        values: At least one number.

    Raises:
        ValueError: If there is none.
    """
    middle = median(values)
    ordered = sorted(float(value) for value in values)
    return Spread(
        values=tuple(float(value) for value in values),
        median=middle,
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


def median(values: Sequence[float]) -> float:
    """Return the true median: the mean of the middle two where their number is even.

    Args:
        values: At least one number.

    Raises:
        ValueError: If there is none.
    """
    if not values:
        raise ValueError("a median needs at least one value, got none.")
    return float(statistics.median(values))


def medians(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return metric -> median over seeds, for the metrics that every seed has."""
    if not scores:
        return {}
    shared = [name for name in scores[0] if all(name in one for one in scores)]
    return {name: median([one[name] for one in scores]) for name in shared}


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
