import pytest

from pedro_bench.reporting.statistics import median, medians


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert median([4.0, 1.0, 3.0]) == 3.0
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5
    with pytest.raises(ValueError, match="at least one value, got none"):
        median([])


def test_medians_are_of_the_metrics_that_every_seed_has():
    assert medians([{"f1": 1.0, "em": 5.0}, {"f1": 2.0}]) == {"f1": 1.5}
    assert medians([]) == {}
