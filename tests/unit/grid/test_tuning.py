"""Tuning: which rates are tried, who goes on, and which trial is chosen, worked by hand."""

import math
from collections.abc import Sequence

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.grid.tuning import (
    RATE,
    Losses,
    Trial,
    best,
    points,
    rates_between,
    rungs,
    search,
)


def test_rates_lie_at_even_distances_in_their_logarithm():
    rates = rates_between(7, 1e-4, 1e-1)
    assert rates == [1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1]
    assert points(rates) == [{RATE: one} for one in rates]
    tried = points(rates_between(5, 1e-3, 1e-1), ("method.alpha", [8, 16]))
    assert [one["method.alpha"] for one in tried] == [8, 16, 8, 16, 8]
    assert [one[RATE] for one in tried] == [1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 1e-4, 1e-1), r"trials must be at least 2, got 1\."),
        (
            (4, 1e-1, 1e-4),
            r"lr must be two rates above 0, the lower one first, got 0\.1 and 0\.0001\.",
        ),
        ((4, 0.0, 1e-4), r"lr must be two rates above 0"),
        ((30, 1e-3, 2e-3), r"trials must have rates that differ in two digits, got 30 between"),
    ],
)
def test_ranges_that_make_no_trials_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        rates_between(*given)


def test_every_value_of_a_knob_has_a_trial():
    expected = (
        r"trials must be at least the 3 values of method\.alpha, so that each is tried, got 2\."
    )
    with pytest.raises(ConfigError, match=expected):
        points([1e-3, 1e-1], ("method.alpha", [4, 8, 16]))


@pytest.mark.parametrize(
    ("number", "seeds", "expected"),
    [
        (8, [0, 1, 2], [(8, [0]), (4, [1]), (2, [2])]),
        (8, [0, 1, 2, 3, 4], [(8, [0]), (4, [1]), (2, [2, 3, 4])]),
        (7, [0, 1, 2], [(7, [0]), (4, [1]), (2, [2])]),
        (40, [0, 1, 2], [(40, [0]), (20, [1]), (2, [2])]),
        (3, [5, 6], [(3, [5]), (2, [6])]),
        (2, [0, 1], [(2, [0, 1])]),
        (5, [0], [(5, [0])]),
    ],
)
def test_half_of_the_trials_go_on_and_the_last_two_have_every_seed(number, seeds, expected):
    assert list(rungs(number, seeds, is_halved=True)) == expected
    assert list(rungs(number, seeds, is_halved=False)) == [(number, seeds)]


def test_merit_is_the_geometric_mean_of_medians():
    losses = {("rte", 0): 9.0, ("rte", 1): 4.0, ("rte", 2): 1.0, ("copa", 0): 1.0}
    assert Trial({}, losses).merit(["rte", "copa"]) == pytest.approx(2.0)
    assert Trial({}, losses).merit(["rte"]) == 4.0
    assert math.isinf(Trial({}, losses).merit(["rte", "sst2"]))
    assert math.isinf(Trial({}, {("rte", 0): math.inf}).merit(["rte"]))


def test_a_search_runs_what_goes_on_and_chooses_by_the_median():
    """Of two methods: the rate that is best with the first seed falls to chance with the others."""
    rates = (0.1, 0.2, 0.3, 0.4)
    table = {
        ("a", 0.1): (3.0, 3.0, 3.0),
        ("a", 0.2): (1.0, 9.0, 9.0),  # best with seed 0 alone
        ("a", 0.3): (2.0, 2.0, 2.0),
        ("a", 0.4): (8.0, 0.1, 0.1),  # left out after seed 0
        ("b", 0.1): (5.0, 5.0, 5.0),
        ("b", 0.2): (4.0, 6.0, 4.0),
        ("b", 0.3): (math.inf, 0.1, 0.1),
        ("b", 0.4): (7.0, 7.0, 7.0),
    }
    asked: list[tuple[str, float, int]] = []

    def run(pairs: Sequence[tuple[str, Trial]], seeds: Sequence[int]) -> list[Losses]:
        found = []
        for method, trial in pairs:
            rate = trial.values[RATE]
            asked.extend((method, rate, seed) for seed in seeds)
            found.append({("rte", seed): table[method, rate][seed] for seed in seeds})
        return found

    trials = {name: [Trial({RATE: rate}) for rate in rates] for name in ("a", "b")}
    chosen = search(trials, ["rte"], [0, 1, 2], run)
    assert {name: one.values[RATE] for name, one in chosen.items()} == {"a": 0.3, "b": 0.2}
    later = {(method, rate) for method, rate, seed in asked if seed > 0}
    assert later == {("a", 0.2), ("a", 0.3), ("b", 0.1), ("b", 0.2)}
    assert len(asked) == 2 * (4 + 2 + 2)


def test_nothing_is_chosen_where_no_trial_ended_with_every_seed():
    half = Trial({RATE: 0.1}, {("rte", 0): 1.0})
    failed = Trial({RATE: 0.2}, {("rte", 0): math.inf, ("rte", 1): math.inf})
    assert best([half, failed], ["rte"], [0, 1]) is None
    assert best([half], ["rte"], [0]) is half
