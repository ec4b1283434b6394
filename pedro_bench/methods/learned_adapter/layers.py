"""A bottleneck adapter with a learnable activation and an encoder operator to choose.

    z = R(y W_down + b_down)
    Adapter(y) = (sum_o w_o E_o(z)) W_up + (sum_o w_o) b_up

R is the rational function `nn.vector_generator.Rational`. While an operator is searched for, w are the shares
of this adapter's operators; afterwards one operator stays with w = 1, and the adapter has a form for many
tenants. Everything is computed in float32.

Legend: B examples, T tokens, O width, R bottleneck, N operators.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pedro_bench.nn.tenant_blocks import TenantBlock, rational, tenant_block
from pedro_bench.nn.vector_generator import Rational

_DOWN_STD = 0.02


class Linear(nn.Module):
    """E(z) = z W with W (R, R), the identity at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(size))

    def forward(self, z: Tensor) -> Tensor:
        """Return (…, R)."""
        return z @ self.weight


class Gated(nn.Module):
    """E(z) = z * 2 sigmoid(z W) with W (R, R), zero at first: then it is the identity."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size, size))

    def forward(self, z: Tensor) -> Tensor:
        """Return (…, R)."""
        return z * 2 * torch.sigmoid(z @ self.weight)


OPERATORS: dict[str, Callable[[int], nn.Module]] = {
    "identity": lambda size: nn.Identity(),
    "linear": Linear,
    "gated": Gated,
}


class LearnedAdapter(nn.Module):
    """One adapter.

    W_down ~ N(0, 0.02^2); W_up and both biases zero: nothing is added at first.

    Args:
        width: O.
        bottleneck_size: R, at least 1.
        operators: Keys of OPERATORS; N of them.
    """

    def __init__(self, width: int, bottleneck_size: int, operators: Sequence[str]) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(width, bottleneck_size).normal_(0.0, _DOWN_STD))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck_size))
        self.activation = Rational()
        self.operators = nn.ModuleDict(
            {name: OPERATORS[name](bottleneck_size) for name in operators}
        )
        self.up = nn.Parameter(torch.zeros(bottleneck_size, width))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, y_BTO: Tensor, shares_N: Tensor | None = None) -> Tensor:
        """Return `y_BTO` plus the adapter's output, in the dtype of `y_BTO`; without shares, w = 1."""
        with torch.autocast(y_BTO.device.type, enabled=False):
            z = self.activation(y_BTO.float() @ self.down + self.down_bias)
            encoded = [operator(z) for operator in self.operators.values()]
            if shares_N is None:
                added = sum(encoded) @ self.up + self.up_bias
            else:
                mixed = sum(share * one for share, one in zip(shares_N, encoded, strict=True))
                added = mixed @ self.up + shares_N.sum() * self.up_bias
        changed: Tensor = y_BTO + added.to(y_BTO.dtype)
        return changed


class TenantLearnedAdapter(TenantBlock):
    """`LearnedAdapter` of a found structure for many tenants, who share the structure."""

    def __init__(self, template: LearnedAdapter) -> None:
        super().__init__(template)
        (self.operator,) = template.operators

    def forward(self, y_BTO: Tensor, shares_N: None = None) -> Tensor:
        """Return `y_BTO` plus each tenant's output, in the dtype of `y_BTO`; a structure has no shares."""
        rows = self.kept(y_BTO.device)
        z_BTR = y_BTO.float() @ rows["down"] + rows["down_bias"].unsqueeze(1)
        coefficients = rows["activation.numerator"], rows["activation.denominator"]
        z_BTR = rational(z_BTR.flatten(1), *coefficients).view_as(z_BTR)
        if self.operator != "identity":
            moved_BTR = z_BTR @ rows[f"operators.{self.operator}.weight"]
            z_BTR = moved_BTR if self.operator == "linear" else z_BTR * 2 * moved_BTR.sigmoid()
        added_BTO = z_BTR @ rows["up"] + rows["up_bias"].unsqueeze(1)
        return y_BTO + added_BTO.to(y_BTO.dtype)


tenant_block.register(LearnedAdapter, TenantLearnedAdapter)


class Choice(nn.Module):
    """The choice of one layer: softmax(alpha), alpha (number of options,); equal shares at first."""

    def __init__(self, num_options: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(num_options))

    def forward(self) -> Tensor:
        """Return the options' shares in float32."""
        return self.alpha.float().softmax(0)
