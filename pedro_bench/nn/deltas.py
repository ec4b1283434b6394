"""Small trainable changes to a module's output, the candidates of a structure search.

Each returns what is added to the output, in float32, and starts at zero. Legend: I in-features,
O out-features, M inner width of an adapter.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RankOneDelta(nn.Module):
    """x a^T b: LoRA of rank 1 with scaling 1; a uniform in +-1/sqrt(I), b zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(1, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, 1))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the update of `x` (…, I) as (…, O)."""
        return F.linear(F.linear(x.to(self.lora_A.dtype), self.lora_A), self.lora_B)


class BiasDelta(nn.Module):
    """A bias (O,), zero at first."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the bias (O,)."""
        return self.bias


class ScaleDelta(nn.Module):
    """output * s with s (O,) zero at first: a change of the output's scale."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the change of `output` (…, O)."""
        return output.to(self.scale.dtype) * self.scale


class LowRankLinear(nn.Module):
    """x L R + bias with L (I, 1) and R (1, O).

    L is Glorot-uniform, and so is R unless it is to start at zero; the bias is zero.
    """

    def __init__(self, inputs: int, outputs: int, *, starts_at_zero: bool) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(inputs, 1))
        self.right = nn.Parameter(torch.zeros(1, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.left)
        if not starts_at_zero:
            nn.init.xavier_uniform_(self.right)

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, O)."""
        return (x @ self.left) @ self.right + self.bias


class LowRankAdapterDelta(nn.Module):
    """GELU(output L1 R1 + b1) L2 R2 + b2, an adapter whose two matrices have rank 1; R2 starts at zero."""

    def __init__(self, outputs: int, inner: int) -> None:
        super().__init__()
        self.down = LowRankLinear(outputs, inner, starts_at_zero=False)
        self.up = LowRankLinear(inner, outputs, starts_at_zero=True)

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """Return the change of `output` (…, O)."""
        inner = F.gelu(self.down(output.to(self.down.left.dtype)), approximate="tanh")
        changed: Tensor = self.up(inner)
        return changed
