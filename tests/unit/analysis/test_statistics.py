import numpy as np
import pytest

from pedro_bench.analysis.statistics import median, medians, spread


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert median([4.0, 1.0, 3.0]) == 3.0
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5
    with pytest.raises(ValueError, match="at least one value, got none"):
        median([])


def test_medians_are_of_the_metrics_that_every_seed_has():
    assert medians([{"f1": 1.0, "em": 5.0}, {"f1": 2.0}]) == {"f1": 1.5}
    assert medians([]) == {}


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
