"""A bottleneck, a small two-layer network with a skip around it, for one adapter and for many tenants.

Legend: B examples, T tokens, I width, R bottleneck.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block

_INIT_STD = 1e-3


class Bottleneck(nn.Module):
    """x + W2 GELU(W1 x + b1) + b2, in float32, cast back to the dtype of x.

    Under autocast (training on a GPU) its products are in bfloat16, as a LoRA's are.

    W1 and W2 are normal with deviation 1e-3, drawn again where they are beyond two deviations; both
    biases are zero. So it starts close to the identity, not at it.

    Args:
        width: I.
        r: Bottleneck R, at least 1.

    Attributes:
        down: W1, (R, I).
        down_bias: b1, (R,).
        up: W2, (I, R).
        up_bias: b2, (I,).
    """

    def __init__(self, width: int, r: int) -> None:
        super().__init__()
        self.down = nn.Parameter(_near_zero(r, width))
        self.down_bias = nn.Parameter(torch.zeros(r))
        self.up = nn.Parameter(_near_zero(width, r))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted `x`, (…, I)."""
        inner = F.gelu(F.linear(x.to(self.down.dtype), self.down, self.down_bias))
        change = F.linear(inner, self.up, self.up_bias)
        return (x + change).to(x.dtype)


class TenantBottleneck(TenantBlock):
    """`Bottleneck` for many tenants."""

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return `x_BTI` as each tenant's network changes it."""
        rows = self.kept(x_BTI.device)
        wide_BTI = x_BTI.to(rows["down"].dtype)
        inner_BTR = F.gelu(wide_BTI @ rows["down"].mT + rows["down_bias"].unsqueeze(1))
        change_BTI = inner_BTR @ rows["up"].mT + rows["up_bias"].unsqueeze(1)
        return (x_BTI + change_BTI).to(x_BTI.dtype)


tenant_block.register(Bottleneck, TenantBottleneck)


def _near_zero(rows: int, columns: int) -> Tensor:
    matrix = torch.empty(rows, columns)
    return nn.init.trunc_normal_(matrix, std=_INIT_STD, a=-2 * _INIT_STD, b=2 * _INIT_STD)
