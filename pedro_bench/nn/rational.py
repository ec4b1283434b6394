"""A learnable rational activation function, started as GELU.

    R(x) = sum_{j=0..6} a_j x^j / (1 + |sum_{i=1..5} b_i x^i|)        PEDRO, eq. (7)

Known as the Pade activation unit (Molina et al. 2020, arXiv:1907.06732), there "version A safe" up to
where the absolute value stands; this is the form PEDRO prints. Twelve coefficients, shared by all r
dimensions of one generator. The start is the least-squares fit of GELU on [-4, 4] among the functions
that share GELU's symmetry (GELU(x) - x/2 is even): greatest error 1.39e-3. Without the symmetry the
squared error falls by 0.5% more, while the greatest error rises to 1.45e-3.
`tests/unit/nn/test_rational.py` fits anew and compares.
"""

import torch
from torch import Tensor, nn

GELU_NUMERATOR = (
    0.00024303941,
    0.5,
    0.39498733,
    0.34442032,
    0.21704483,
    0.06050870,
    0.0059020081,
)
"""a_0 … a_6. The odd part is x/2 times the denominator, as GELU(x) - x/2 is even."""

GELU_DENOMINATOR = (0.0, 0.68884064, 0.0, 0.12101740, 0.0)
"""b_1 … b_5."""


class Rational(nn.Module):
    """R(x), element by element, in float32.

    Attributes:
        numerator: a_0 … a_6, shape (7,).
        denominator: b_1 … b_5, shape (5,).
    """

    def __init__(self) -> None:
        super().__init__()
        self.numerator = nn.Parameter(torch.tensor(GELU_NUMERATOR))
        self.denominator = nn.Parameter(torch.tensor(GELU_DENOMINATOR))

    def forward(self, x: Tensor) -> Tensor:
        """Return R(x), same shape as `x`."""
        above = _horner(self.numerator, x)
        below = 1 + (x * _horner(self.denominator, x)).abs()
        return above / below


def _horner(coefficients: Tensor, x: Tensor) -> Tensor:
    """Return c_0 + c_1 x + c_2 x^2 + … ."""
    value = coefficients[-1].expand_as(x)
    for coefficient in coefficients[:-1].flip(0):
        value = value * x + coefficient
    return value
