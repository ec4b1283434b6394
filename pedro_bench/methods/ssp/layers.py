"""SSP's changes of a module's output, one class for each kind of candidate, with or without gates.

    m(x) + z_l alpha B A x + z_b b               a projection: `LoraDelta` (several, of rank 1), `BiasDelta`
    m(x) + z_s s * norm(x) + z_b b               a normalisation: `NormScaleDelta`, `BiasDelta`
    y + z_a (GELU(y L1 R1 + b1) L2 R2 + b2)      behind a sub-layer: `LowRankAdapterDelta`

m is the module, y its output as the terms before have left it; L1, R1, L2 and R2 have rank 1. alpha is
LoRA's scale here, a setting, and no architecture parameter. z are the gates of a search (`gates`); without
gates all are 1. `places` puts the changes of one module together.

Parameters are float32 and so is what is computed from them; under autocast their products are in bfloat16.

Legend: B examples, T tokens, I in-features, O out-features, K LoRA modules of a place, M inner width of an
adapter.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.errors import InjectionError


class Delta(nn.Module):
    """What is added to a module's output (B, T, O).

    `forward(x, gates)` returns it, with shape (B, T, O) or one that broadcasts to it. x is the module's
    input (B, T, I), of an adapter the output before it; gates are (B, 1, `num_gates`), or None for ones.

    Attributes:
        num_gates: Candidates that it stands for.
    """

    num_gates: int = 1


class LoraDelta(Delta):
    """K LoRA modules of rank 1, scaled by alpha; A uniform in +-1/sqrt(I), B zero."""

    def __init__(self, inputs: int, outputs: int, num_candidates: int, alpha: float) -> None:
        super().__init__()
        self.num_gates = num_candidates
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.empty(num_candidates, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, num_candidates))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x_BTI: Tensor, gates_B1K: Tensor | None) -> Tensor:
        """Return the update of the input, (B, T, O)."""
        inner_BTK = F.linear(x_BTI.to(self.lora_A.dtype), self.lora_A) * self.alpha
        return F.linear(inner_BTK if gates_B1K is None else inner_BTK * gates_B1K, self.lora_B)


class BiasDelta(Delta):
    """A bias (O,), zero at first."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_BTI: Tensor, gates_B11: Tensor | None) -> Tensor:
        """Return the bias: (O,), with gates (B, 1, O)."""
        return self.bias if gates_B11 is None else self.bias * gates_B11


@dataclass(frozen=True)
class PlainNorm:
    """A backbone's normalisation without its scale and bias.

    Attributes:
        epsilon: Added to the mean square, above 0.
        is_centred: Whether the mean is subtracted, as LayerNorm does.
    """

    epsilon: float
    is_centred: bool

    @classmethod
    def of(cls, norm: nn.Module, width: int) -> "PlainNorm":
        """Read the settings of a module of `width` O.

        Raises:
            InjectionError: If it does not have its epsilon.
        """
        epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        if epsilon is None:
            raise InjectionError(
                "a normalisation must have an epsilon (eps or variance_epsilon) for its scale to be "
                f"trained, got {type(norm).__name__} without one."
            )
        return cls(float(epsilon), _is_centred(norm, width))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (…, O)."""
        if self.is_centred:
            x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def _is_centred(norm: nn.Module, width: int) -> bool:
    """Whether a normalisation subtracts the mean: then a constant added to its input changes nothing."""
    own = {name: torch.ones(tuple(one.shape)) for name, one in norm.named_parameters()}
    x = torch.tensor([1.0, -1.0]).repeat(width)[None, None, :width]
    with torch.no_grad():
        plain, moved = (torch.func.functional_call(norm, own, (one,)) for one in (x, x + 1))
    return torch.allclose(plain, moved, atol=1e-3)


class NormScaleDelta(Delta):
    """s * norm(x), s (O,) zero at first: what adding s to the normalisation's own scale would add.

    Args:
        norm: The backbone's normalisation: of the root mean square, or centred first (LayerNorm).
        width: O, which is I too.

    Raises:
        InjectionError: If the normalisation does not have its epsilon.
    """

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.normed = PlainNorm.of(norm, width)
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTI: Tensor, gates_B11: Tensor | None) -> Tensor:
        """Return the scaled normalised input, (B, T, O)."""
        scale = self.scale if gates_B11 is None else self.scale * gates_B11
        return self.normed(x_BTI.to(self.scale.dtype)) * scale


class LowRankLinear(nn.Module):
    """x L R + bias with L (I, 1) and R (1, O), both Glorot-uniform; the bias is zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(inputs, 1))
        self.right = nn.Parameter(torch.empty(1, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.left)
        nn.init.xavier_uniform_(self.right)

    def forward(self, x_BTI: Tensor, gates_B11: Tensor | None = None) -> Tensor:
        """Return the map of the input, (B, T, O), times the gates."""
        inner_BT1 = x_BTI @ self.left
        if gates_B11 is None:
            return inner_BT1 @ self.right + self.bias
        return (inner_BT1 * gates_B11) @ self.right + self.bias * gates_B11


class LowRankAdapterDelta(Delta):
    """GELU(y L1 R1 + b1) L2 R2 + b2 (GELU by tanh): small, but not zero at first."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down = LowRankLinear(width, inner)
        self.up = LowRankLinear(inner, width)

    def forward(self, y_BTO: Tensor, gates_B11: Tensor | None) -> Tensor:
        """Return what is added to an output, (B, T, O)."""
        inner_BTM = F.gelu(self.down(y_BTO.to(self.down.left.dtype)), approximate="tanh")
        added_BTO: Tensor = self.up(inner_BTM, gates_B11)
        return added_BTO
