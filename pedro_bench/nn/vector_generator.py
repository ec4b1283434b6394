"""PEDRO's vector generator: from a prompt's hidden states to vectors that scale hidden representations.

    l = g(Pooler(h) W_down) W_up + b_up,   l_1, …, l_k = Split(l)            PEDRO, eq. (6)
    g(x) = sum_{j=0..6} a_j x^j / (1 + |sum_{i=1..5} b_i x^i|)               eq. (7), element by element

W_down (d, r) ~ N(0, 0.02^2), W_up (r, sum of widths) = 0, b_up = 1: at the start every vector is one.
All of it is computed in float32, under mixed precision too, and where a trainer has cast the weights. The
pooler reads the positions of the prompt mask alone, wherever padding is.

g is the Pade activation unit (Molina et al. 2020, arXiv:1907.06732), "version A safe" up to where the
absolute value stands, in the form that PEDRO prints: twelve coefficients, shared by all r dimensions of one
generator. The start is the least-squares fit of GELU on [-4, 4] among the functions with GELU's symmetry
(GELU(x) - x/2 is even): greatest error 1.39e-3. Without the symmetry the squared error falls by 0.5% more,
while the greatest error rises to 1.45e-3. `tests/unit/nn/test_rational.py` fits anew and compares.

Legend: B examples, T tokens, D hidden, R bottleneck.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.protocols.context import PromptContext

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


POOLERS = ("last", "mean", "max")
"""`last` prompt token (PEDRO), and the mean and the maximum over prompt tokens (its variants 1, 2)."""


def pool(hidden_BTD: Tensor, context: PromptContext, how: str) -> Tensor:
    """Return one vector per example, (B, D) in float32, of hidden_BTD; `how` is one of POOLERS."""
    if how == "last":
        rows_B = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
        return hidden_BTD[rows_B, context.last_prompt_B].float()
    mask_BT1 = context.prompt_mask_BT.unsqueeze(-1)
    if how == "mean":
        total_BD = hidden_BTD.float().masked_fill(~mask_BT1, 0.0).sum(dim=1)
        return total_BD / mask_BT1.sum(dim=1)
    if how == "max":
        return hidden_BTD.float().masked_fill(~mask_BT1, float("-inf")).amax(dim=1)
    raise AssertionError(how)  # methods check their settings against POOLERS


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "rational": Rational,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
}

_DOWN_STD = 0.02


class VectorGenerator(nn.Module):
    """One layer's generator.

    Args:
        hidden_size: D.
        r: Bottleneck R, at least 1.
        widths: Widths of the vectors to make, in order.
        activation: Key of ACTIVATIONS.
        pooling: One of POOLERS.
    """

    def __init__(
        self, hidden_size: int, r: int, widths: Sequence[int], *, activation: str, pooling: str
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.pooling = pooling
        self.down = nn.Parameter(torch.empty(hidden_size, r).normal_(0.0, _DOWN_STD))
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Parameter(torch.zeros(r, sum(self.widths)))
        self.bias = nn.Parameter(torch.ones(sum(self.widths)))

    def forward(self, hidden_BTD: Tensor, context: PromptContext) -> tuple[Tensor, ...]:
        """Return one float32 vector (B, width) for each width."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            pooled_BD = pool(hidden_BTD, context, self.pooling)
            inner_BR = self.activation(pooled_BD @ self.down.float())
            vectors = F.linear(inner_BR, self.up.t().float(), self.bias.float())
        parts: tuple[Tensor, ...] = vectors.split(self.widths, dim=1)
        return parts
