"""The rational activation: its formula, its fit of GELU, and how fine that fit can be."""

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.special import erf

from pedro_bench.nn.vector_generator import GELU_DENOMINATOR, GELU_NUMERATOR, Rational

GRID = np.linspace(-4, 4, 4001)
GELU = 0.5 * GRID * (1 + erf(GRID / np.sqrt(2)))


def formula(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    a, b = coefficients[:7], coefficients[7:]
    above = sum(a[j] * x**j for j in range(7))
    return above / (1 + np.abs(sum(b[i - 1] * x**i for i in range(1, 6))))


def test_equals_the_formula_in_float64() -> None:
    coefficients = np.random.default_rng(0).normal(size=12)
    unit = Rational().double()
    with torch.no_grad():
        unit.numerator.copy_(torch.from_numpy(coefficients[:7]))
        unit.denominator.copy_(torch.from_numpy(coefficients[7:]))
        given = unit(torch.from_numpy(GRID)).numpy()
    np.testing.assert_allclose(given, formula(coefficients, GRID), rtol=1e-9)


def test_start_is_gelu_within_the_stated_error() -> None:
    with torch.no_grad():
        given = Rational()(torch.from_numpy(GRID).float()).double().numpy()
    assert np.abs(given - GELU).max() <= 1.4e-3


def test_a_new_least_squares_fit_is_hardly_better() -> None:
    own = np.array([*GELU_NUMERATOR, *GELU_DENOMINATOR])
    residual = float(((formula(own, GRID) - GELU) ** 2).sum())
    draw = np.random.default_rng(1)
    for start in (own, own + 0.02 * draw.normal(size=12)):
        fit = least_squares(lambda c: formula(c, GRID) - GELU, start, max_nfev=2000)
        assert 2 * fit.cost >= residual * (1 - 0.01)


def test_shape_is_kept_and_gradients_reach_all_coefficients() -> None:
    unit = Rational()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    out = unit(x)
    out.sum().backward()
    assert out.shape == x.shape
    assert bool((unit.numerator.grad != 0).all()) and bool((unit.denominator.grad != 0).all())
