"""Accuracy of answers from a closed set and the share outside it; GLUE's correlations.

CoLA is scored by Matthews' correlation, STS-B by Pearson's and Spearman's. All raise DataError where
predictions and golds differ in number or are none.
"""

import math
from collections.abc import Sequence

from pedro_bench.errors import DataError
from pedro_bench.metrics import versioned


@versioned(1)
def accuracy(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> float:
    """Return the share of predictions that equal one of their gold answers, in percent."""
    check_lengths(len(predictions), len(golds))
    right = sum(given in allowed for given, allowed in zip(predictions, golds, strict=True))
    return 100.0 * right / len(predictions)


@versioned(1)
def f1(predictions: Sequence[bool], golds: Sequence[bool]) -> float:
    """Return F1 of the class that is True, in percent; 0 where it is neither given nor there."""
    check_lengths(len(predictions), len(golds))
    both = sum(given and gold for given, gold in zip(predictions, golds, strict=True))
    number = sum(predictions) + sum(golds)
    return 100.0 * 2 * both / number if number else 0.0


@versioned(1)
def invalid(predictions: Sequence[str], candidates: Sequence[Sequence[str]]) -> float:
    """Return the share of predictions outside their closed set of answers, in percent."""
    check_lengths(len(predictions), len(candidates))
    outside = sum(given not in known for given, known in zip(predictions, candidates, strict=True))
    return 100.0 * outside / len(predictions)


def check_lengths(num_predictions: int, num_examples: int) -> None:
    """Require one prediction for each of at least one example.

    Raises:
        DataError: If the numbers differ or are 0.
    """
    if num_predictions != num_examples or num_examples == 0:
        raise DataError(
            f"scoring must have one prediction for each of at least one example, got "
            f"{num_predictions} predictions for {num_examples} examples."
        )


@versioned(1)
def matthews(predictions: Sequence[bool], golds: Sequence[bool]) -> float:
    """Return Matthews' correlation of two classes, in percent between -100 and 100.

        MCC = (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN))

    It is 0 where predictions or golds (True: the first class) hold one class only, as in scikit-learn.
    """
    check_lengths(len(predictions), len(golds))
    pairs = list(zip(predictions, golds, strict=True))
    counts = {
        one: pairs.count(one) for one in ((a, b) for a in (True, False) for b in (True, False))
    }
    tp, fp = counts[True, True], counts[True, False]
    fn, tn = counts[False, True], counts[False, False]
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return 100.0 * (tp * tn - fp * fn) / math.sqrt(below) if below else 0.0


@versioned(1)
def pearson(predictions: Sequence[float], golds: Sequence[float]) -> float:
    """Return Pearson's correlation in percent; 0 where one side is constant."""
    check_lengths(len(predictions), len(golds))
    mean_x, mean_y = math.fsum(predictions) / len(golds), math.fsum(golds) / len(golds)
    xs, ys = [x - mean_x for x in predictions], [y - mean_y for y in golds]
    below = math.sqrt(math.fsum(x * x for x in xs) * math.fsum(y * y for y in ys))
    if min(max(map(abs, xs)), max(map(abs, ys))) < 1e-12:
        return 0.0
    above = math.fsum(x * y for x, y in zip(xs, ys, strict=True))
    return 100.0 * max(-1.0, min(1.0, above / below))


@versioned(1)
def spearman(predictions: Sequence[float], golds: Sequence[float]) -> float:
    """Return Spearman's rank correlation in percent: Pearson's of the ranks, ties sharing theirs."""
    return pearson(_ranks(predictions), _ranks(golds))


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=lambda position: values[position])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for position in order[start:end]:
            ranks[position] = (start + 1 + end) / 2
        start = end
    return ranks
