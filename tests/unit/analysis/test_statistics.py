import itertools

import numpy as np
import pytest
from scipy import stats

from pedro_bench.analysis import statistics
from pedro_bench.analysis.statistics import (
    example_intervals,
    range_coverage,
    seed_interval,
    spread,
)


def test_spread_by_hand():
    # 70 71 73 76 80: quartiles at places 1 and 3; mean 74, squares 16+9+1+4+36 = 66, 66 / 4 = 16.5.
    found = spread([73.0, 80.0, 70.0, 76.0, 71.0])
    assert found.values == (73.0, 80.0, 70.0, 76.0, 71.0)
    assert (found.median, found.lower_quartile, found.upper_quartile) == (73.0, 71.0, 76.0)
    assert (found.least, found.greatest, found.seeds) == (70.0, 80.0, 5)
    assert found.deviation == pytest.approx(16.5**0.5)
    assert spread([5.0]).deviation is None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_spread_as_numpy_has_it(count):
    values = np.random.default_rng(count).normal(80, 3, count)
    found = spread(values.tolist())
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    assert (found.lower_quartile, found.median, found.upper_quartile) == pytest.approx(quartiles)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 9.0, 4.0], [3.0, 1.0, 2.0, 9.0, 4.0, 4.5]])
def test_over_seeds_it_is_the_enumeration_of_all_draws(values):
    drawn = [float(np.median(one)) for one in itertools.product(values, repeat=len(values))]
    ends = [np.quantile(drawn, share, method="inverted_cdf") for share in (0.025, 0.975)]
    found = seed_interval(values)
    assert (found.low, found.high, found.examples) == (*ends, 0)


def test_five_seeds_by_hand():
    # The median of five draws is the least value when three or more draws are: 181/3125 = 5.8%,
    # more than the 2.5% that are cut off. So the interval runs from the least to the greatest.
    assert statistics._median_distribution(5)[2][0] == pytest.approx(181 / 3125)
    found = seed_interval([73.0, 80.0, 70.0, 76.0, 71.0])
    assert (found.low, found.high) == (70.0, 80.0)


def test_below_five_seeds_there_is_no_interval():
    # The range of n draws misses the median where all lie on one side of it: 2 of 2^n cases.
    assert [range_coverage(n) for n in (2, 3, 4, 5)] == [0.5, 0.75, 0.875, 0.9375]
    assert seed_interval([73.0, 80.0, 70.0, 76.0]) is None
    assert example_intervals({"a": np.eye(4)}) == {"a": None}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9])
def test_the_distribution_of_the_median_sums_to_one(count):
    lower, upper, weights = statistics._median_distribution(count)
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights) > -1e-12
    assert all(low <= high < count for low, high in zip(lower, upper, strict=True))


def test_over_examples_it_is_scipys_bootstrap_where_seeds_agree():
    # Five seeds with the same answers: only the examples vary, and the median is their mean.
    row = (np.random.default_rng(0).random(200) < 0.8) * 100.0
    found = example_intervals({"a": np.stack([row] * 5)})["a"]
    expected = stats.bootstrap(
        (row,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.examples == 200
    assert found.low == pytest.approx(expected.low, abs=0.8)
    assert found.high == pytest.approx(expected.high, abs=0.8)


def test_where_examples_agree_it_is_the_interval_over_seeds():
    scores = np.array([[70.0], [71.0], [73.0], [76.0], [80.0]]) * np.ones((1, 40))
    found = example_intervals({"a": scores})["a"]
    assert (found.low, found.high) == pytest.approx((70.0, 80.0))


def test_the_seed_is_used_and_other_cells_do_not_matter(monkeypatch):
    draw = np.random.default_rng(3)
    a, b = ((draw.random((5, 60)) < share) * 100.0 for share in (0.7, 0.8))
    alone = example_intervals({"a": a})
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    together = example_intervals({"b": b, "a": a})
    assert together["a"] == alone["a"]
    assert example_intervals({}) == {}
    monkeypatch.setattr(statistics, "SEED", 7)
    assert example_intervals({"a": a})["a"] != alone["a"]


def test_a_spread_needs_a_score():
    with pytest.raises(ValueError, match="no median for empty data"):
        spread([])
