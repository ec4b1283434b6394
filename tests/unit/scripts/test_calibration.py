"""The two tests that are measured against ours behave as they are meant to."""

import numpy as np

from scripts import calibration


def test_equal_answers_are_not_different_and_opposite_ones_are():
    draw = np.random.default_rng(0)
    same = np.full((2, 5, 40), 100.0)
    same[:, :, ::2] = 0.0
    apart = same.copy()
    apart[1] = 0.0
    assert calibration.sign_flip(draw, same) == 1.0
    assert calibration.bootstrap(draw, same) >= 1.0
    assert calibration.sign_flip(draw, apart) < 0.01
    assert calibration.bootstrap(draw, apart) < 0.01


def test_scores_are_percent_by_method_seed_and_example():
    found = calibration.scores(np.random.default_rng(0), 0.03, 60)
    assert found.shape == (2, 5, 60)
    assert set(np.unique(found)) <= {0.0, 100.0}
