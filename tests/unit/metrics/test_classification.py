import random

import pytest
from scipy import stats

from pedro_bench.errors import DataError
from pedro_bench.metrics.classification import accuracy, invalid, matthews, pearson, spearman


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


@pytest.fixture
def scores():
    chance = random.Random(3)
    golds = [round(chance.uniform(0, 5), 1) for _ in range(200)]
    return [round(gold + chance.gauss(0, 1)) for gold in golds], golds


def test_pearson_and_spearman_equal_scipy(scores):
    assert pearson(*scores) == pytest.approx(100 * stats.pearsonr(*scores).statistic)
    assert spearman(*scores) == pytest.approx(100 * stats.spearmanr(*scores).statistic)


def test_matthews_is_pearson_of_the_two_classes():
    # of two classes, Matthews' correlation is Pearson's of their indicators (the phi coefficient)
    chance = random.Random(4)
    golds = [chance.random() < 0.7 for _ in range(300)]
    given = [gold if chance.random() < 0.8 else not gold for gold in golds]
    expected = stats.pearsonr([*map(int, given)], [*map(int, golds)]).statistic
    assert matthews(given, golds) == pytest.approx(100 * expected)


def test_the_extremes():
    assert pearson([1, 2, 4], [1, 2, 4]) == 100.0
    assert spearman([3, 2, 1], [10, 20, 40]) == -100.0
    assert matthews([True, False, True], [True, False, True]) == 100.0
    assert matthews([False, True], [True, False]) == -100.0


def test_one_class_or_one_value_has_no_correlation():
    assert matthews([True, True], [True, False]) == 0.0
    assert pearson([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize("measure", [matthews, pearson, spearman])
def test_lengths_of_correlations_must_agree(measure):
    with pytest.raises(DataError, match=r"got 1 predictions for 2 examples"):
        measure([1], [1, 0])
    with pytest.raises(DataError, match=r"at least one example"):
        measure([], [])
