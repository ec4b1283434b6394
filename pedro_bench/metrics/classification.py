"""Accuracy of answers from a closed set, with the share of answers outside it."""

from collections.abc import Sequence

from pedro_bench.errors import DataError
from pedro_bench.metrics import versioned


@versioned(1)
def accuracy(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> float:
    """Return the share of predictions that equal one of their gold answers, in percent.

    Args:
        predictions: One answer an example.
        golds: For each example, all answers that count as right.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(predictions), len(golds))
    right = sum(given in allowed for given, allowed in zip(predictions, golds, strict=True))
    return 100.0 * right / len(predictions)


@versioned(1)
def f1(predictions: Sequence[bool], golds: Sequence[bool]) -> float:
    """Return F1 of the class that is True, in percent; 0 where it is neither given nor there.

    Raises:
        DataError: If the two differ in length or are empty.
    """
    check_lengths(len(predictions), len(golds))
    both = sum(given and gold for given, gold in zip(predictions, golds, strict=True))
    number = sum(predictions) + sum(golds)
    return 100.0 * 2 * both / number if number else 0.0


@versioned(1)
def invalid(predictions: Sequence[str], candidates: Sequence[Sequence[str]]) -> float:
    """Return the share of predictions outside their closed set of answers, in percent.

    Args:
        predictions: One answer an example.
        candidates: For each example, its closed set of answers.

    Raises:
        DataError: If the two differ in length or are empty.
    """
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
