import pytest

from pedro_bench.errors import DataError
from pedro_bench.metrics.classification import accuracy, invalid


def test_accuracy_counts_any_gold():
    assert accuracy(["yes", "no", "x", "b"], [["yes"], ["yes"], ["yes"], ["a", "b"]]) == 50.0


def test_invalid_counts_answers_outside_the_candidates():
    assert invalid(["yes", "maybe", "Yes"], [("yes", "no")] * 3) == pytest.approx(200 / 3)


def test_lengths_must_agree():
    with pytest.raises(DataError, match=r"one prediction for each .* got 1 predictions for 2"):
        accuracy(["yes"], [["yes"], ["no"]])


def test_nothing_cannot_be_scored():
    with pytest.raises(DataError, match=r"at least one example, got 0 predictions for 0"):
        invalid([], [])
