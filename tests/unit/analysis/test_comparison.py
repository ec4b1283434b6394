"""The test against hand-computed numbers, scipy, and methods that do not differ."""

import numpy as np
import pytest
from scipy import stats

from pedro_bench.analysis.comparison import NO_SPREAD, compare_examples, compare_seeds, holm


def test_two_by_two_by_hand():
    # Seed means of a: 50, 100; of b: 50, 50. d = 100-50, 50-50 = 50, 0.
    # Variances of the means: 1250/2 = 625 and 0 over seeds, 1250/2 = 625 over examples. Residuals of
    # a are 25 four times (2500 / 4 = 625), of b 50 (2500): 1250 - 3125 is less than either source, so
    # 625 stands. t = 25 / 25 = 1 with one degree of freedom: p = 1 - 2/pi arctan(1) = 1/2.
    a = np.array([[100.0, 0.0], [100.0, 100.0]])
    b = np.array([[0.0, 100.0], [100.0, 0.0]])
    found = compare_examples(a, b)
    assert found.difference == 25.0
    assert found.p == pytest.approx(0.5)
    assert (found.seeds, found.examples) == ((2, 2), 2)
    reach = stats.t.ppf(0.975, 1) * 25
    assert (found.low, found.high) == pytest.approx((25 - reach, 25 + reach))


def test_what_counts_in_both_sources_is_taken_off_once():
    # Seed means of a: 80, 40 (variance 800, of the mean 400); of b: 0, 0. d: 100, 100, 100, 0, 0 with
    # 50 off where one seed fails: 100, 100, 50, 50, 0; variance 1750, of the mean 350.
    a = np.array([[100.0, 100.0, 100.0, 100.0, 0.0], [100.0, 100.0, 0.0, 0.0, 0.0]])
    # Residuals: the seeds differ by 40 on average, by 0, 0, 100, 100, 0 in fact: 2 x (3 x 20^2 +
    # 2 x 30^2) = 6000, / (1 x 4) = 1500, / (2 x 5) = 150.
    found = compare_examples(a, a * 0)
    variance = 400 + 350 - 150
    freedom = variance**2 / (400**2 / 1 + 350**2 / 4)
    assert found.p == pytest.approx(2 * stats.t.sf(60 / variance**0.5, freedom))


def test_without_seeds_that_differ_it_is_the_paired_t_test():
    draw = np.random.default_rng(0)
    one, other = draw.random(30) * 100, draw.random(30) * 100
    # Both examples' rows are the same in every seed, so that the seed means are equal.
    found = compare_examples(np.stack([one] * 3), np.stack([other] * 4))
    expected = stats.ttest_rel(one, other)
    assert found.difference == pytest.approx(float((one - other).mean()))
    assert found.p == pytest.approx(float(expected.pvalue))


def test_over_seeds_alone_it_is_welchs_test():
    a, b = [80.1, 81.5, 79.9, 82.0, 80.7], [78.0, 79.5, 80.2]
    found = compare_seeds(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(float(expected.pvalue))
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((float(ends.low), float(ends.high)))
    assert (found.seeds, found.examples) == ((5, 3), 0)


def test_no_variance_at_all():
    same = np.full((2, 3), 100.0)
    assert compare_examples(same, same).p == 1.0
    # All of three examples are better: two of the eight ways that signs can fall are as uneven.
    assert compare_examples(same, same * 0).p == 2 / 8


@pytest.mark.parametrize(("one", "other"), [(3, 5), (5, 3), (7, 5), (3, 6)])
def test_sums_of_other_lengths_make_no_difference(one, other):
    # The mean of three times 66.7 is not quite that of five times, and by as much in every example.
    answers = np.random.default_rng(0).choice([0.0, 100 / 3, 200 / 3, 100.0, 200 / 7], 400)
    a, b = np.stack([answers] * one), np.stack([answers] * other)
    found = compare_examples(a, b)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    # Every example is better by 0.1, by what rounding leaves of it.
    found = compare_examples(a, b - 0.1)
    assert (found.difference, found.p) == (pytest.approx(0.1), 0.5**399)
    exact = compare_seeds([33.3] * one, [33.3] * other, is_exact=True)
    assert (exact.difference, exact.p) == (0.0, 1.0)


@pytest.mark.parametrize("other", [80.0, 80.5])
def test_seeds_that_all_score_the_same_say_nothing_of_chance(other):
    # 80.1 three times has a mean a little beside it, and with it a variance that is not quite 0.
    assert compare_seeds([80.0, 80.0], [other, other]) == NO_SPREAD
    assert compare_seeds([80.1, 80.1, 80.1], [other, other]) == NO_SPREAD
    assert compare_seeds([80.0, 80.1], [other, other]).p > 0


def test_a_measure_without_chance_is_compared_as_it_is():
    found = compare_seeds([14000.0, 14000.0], [15000.0, 15000.0], is_exact=True)
    assert (found.p, found.low, found.high) == (0.0, -1000.0, -1000.0)
    assert compare_seeds([5.0, 5.0], [5.0, 5.0], is_exact=True).p == 1.0


def test_exchanging_the_methods_turns_the_sign():
    draw = np.random.default_rng(1)
    a, b = draw.random((5, 40)), draw.random((4, 40))
    one, other = compare_examples(a, b), compare_examples(b, a)
    assert one.p == pytest.approx(other.p)
    assert (one.difference, one.low) == pytest.approx((-other.difference, -other.high))


@pytest.mark.parametrize(("seed_noise", "examples"), [(0.0, 50), (0.06, 400)])
def test_methods_that_do_not_differ_are_told_apart_in_about_one_case_of_twenty(
    seed_noise, examples
):
    # Examples differ in difficulty, trained models in skill (by seed_noise); the methods do not.
    draw = np.random.default_rng(5)
    rejected = 0
    for _ in range(600):
        skill = draw.normal(0, seed_noise, (2, 5, 1))
        chance = np.clip(draw.uniform(0.5, 0.9, examples) + skill, 0, 1)
        scores = (draw.random((2, 5, examples)) < chance) * 100.0
        rejected += compare_examples(scores[0], scores[1]).p < 0.05
    assert rejected / 600 < 0.07


def test_a_true_difference_is_found():
    draw = np.random.default_rng(6)
    chance = draw.uniform(0.5, 0.9, 400) + draw.normal(0, 0.01, (2, 5, 1))
    chance[0] += 0.08
    scores = (draw.random((2, 5, 400)) < chance) * 100.0
    found = compare_examples(scores[0], scores[1])
    assert found.p < 0.001
    assert found.low < 8 < found.high


def test_holm_by_hand():
    # In order: 4 x 0.01 = 0.04; 3 x 0.02 = 0.06; 2 x 0.025 = 0.05, raised to 0.06; 1 x 0.5.
    assert holm([0.5, 0.01, 0.025, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    # Chosen from six: 6 x 0.01, 5 x 0.02, 4 x 0.025 = 0.1, 3 x 0.5.
    assert holm([0.5, 0.01, 0.025, 0.02], 6) == pytest.approx([1.0, 0.06, 0.1, 0.1])
    assert holm([]) == []
