"""Statistics over seeds, in the standard library alone."""

import statistics
from collections.abc import Mapping, Sequence


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
