import pytest
from scipy import stats

from pedro_bench.analysis.comparison import ranks

THREE = {
    "pedro": {"boolq": 90.0, "squad": 80.0, "copa": 70.0, "rte": 60.0},
    "lora": {"boolq": 85.0, "squad": 80.0, "copa": 71.0, "rte": 55.0},
    "ia3": {"boolq": 80.0, "squad": 75.0, "copa": 60.0, "rte": 50.0},
}


def test_average_ranks_by_hand_with_a_tie():
    # pedro 1, 1.5, 2, 1; lora 2, 1.5, 1, 2; ia3 3, 3, 3, 3.
    found = ranks(THREE)
    assert dict(found.average) == {"pedro": 1.375, "lora": 1.625, "ia3": 3.0}
    assert found.tasks == ("boolq", "squad", "copa", "rte")
    # Friedman with the correction for ties: (12 N / (k (k+1)) (sum R^2 - k (k+1)^2 / 4)) / C,
    # = (12 x 4 / 12 x (1.890625 + 2.640625 + 9 - 12)) / (1 - 6 / (4 x 24)) = 6.125 / 0.9375
    assert found.statistic == pytest.approx(6.125 / 0.9375)
    assert found.p == pytest.approx(float(stats.chi2.sf(6.125 / 0.9375, 2)))


def test_the_critical_difference_of_demsars_table():
    # Demsar 2006, Table 5: q(0.05) for three methods is 2.343.
    assert ranks(THREE).critical_difference == pytest.approx(2.343 * (12 / 24) ** 0.5, abs=1e-3)


def test_gaps_are_left_out_of_the_comparison():
    gaps = {**THREE, "red": {}, "lora": {**THREE["lora"]}}
    del gaps["lora"]["copa"]
    found = ranks(gaps)
    assert found.tasks == ("boolq", "squad", "rte")
    assert set(found.average) == {"pedro", "lora", "ia3"}


def test_too_little_to_rank():
    assert ranks({"pedro": {"boolq": 1.0}}) is None
    assert ranks({"pedro": {"boolq": 1.0}, "lora": {"copa": 1.0}}) is None
    two = ranks({"pedro": {"boolq": 2.0}, "lora": {"boolq": 1.0}})
    assert (dict(two.average), two.statistic) == ({"pedro": 1.0, "lora": 2.0}, None)


def test_all_equal_is_no_difference():
    found = ranks({name: {"a": 1.0, "b": 2.0} for name in ("pedro", "lora", "ia3")})
    assert (found.statistic, found.p) == (0.0, 1.0)
