"""PEDRO's vector generator: from a prompt's hidden states to vectors that scale hidden representations.

    l = g(Pooler(h) W_down) W_up + b_up,   l_1, …, l_k = Split(l)        PEDRO, eq. (6)

W_down (d, r) ~ N(0, 0.02^2), W_up (r, sum of widths) = 0, b_up = 1: at the start every vector is one.
All of it is computed in float32, under mixed precision too.

Legend: B examples, T tokens, D hidden, R bottleneck.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.nn.pooling import pool
from pedro_bench.nn.rational import Rational
from pedro_bench.protocols.context import PromptContext

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
        pooling: One of `pooling.POOLERS`.
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
            inner_BR = self.activation(pooled_BD @ self.down)
            vectors = F.linear(inner_BR, self.up.t(), self.bias)
        parts: tuple[Tensor, ...] = vectors.split(self.widths, dim=1)
        return parts
