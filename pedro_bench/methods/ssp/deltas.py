"""Small trainable changes to one module's output: the candidates of S3PET's search (arXiv:2206.07382).

    y = m(x) + z_l alpha B A x + z_b b        a projection: LoRA of rank 1 (several), a bias
    y = m(x) + z_s s * norm(x) + z_b b        a normalisation: a change of its scale, a bias
    y <- y + z_a (GELU(y L1 R1 + b1) L2 R2 + b2)      after attention and after the feed-forward network

z are the gates of a search; without gates all are 1. L1, R1, L2, R2 have rank 1. Everything is computed
in float32 and cast to the dtype of the output; under autocast its products are in bfloat16.

Legend: I in-features, O out-features, K LoRA candidates, M inner width of an adapter, G gates of one place.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.errors import InjectionError


class LoraDelta(nn.Module):
    """K LoRA modules of rank 1, scaled by alpha; A uniform in +-1/sqrt(I), B zero."""

    def __init__(self, inputs: int, outputs: int, num_candidates: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.empty(num_candidates, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, num_candidates))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """Return the update of `x` (B, T, I) as (B, T, O); `gates` (B, 1, K)."""
        inner = F.linear(x.to(self.lora_A.dtype), self.lora_A) * self.alpha
        return F.linear(inner if gates is None else inner * gates, self.lora_B)


class BiasDelta(nn.Module):
    """A bias (O,), zero at first."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """Return the bias, (O,) or with `gates` (B, 1, 1) as (B, 1, O)."""
        return self.bias if gates is None else self.bias * gates


class NormScaleDelta(nn.Module):
    """s * norm(x), s (O,) zero at first: what adding s to the normalisation's own scale would add.

    Args:
        norm: The backbone's normalisation: of the root mean square, or LayerNorm.
        width: O.

    Raises:
        InjectionError: If the normalisation does not tell its epsilon.
    """

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        if epsilon is None:
            raise InjectionError(
                "a normalisation must have an epsilon (eps or variance_epsilon) for its scale to be "
                f"trained, got {type(norm).__name__} without one."
            )
        self.epsilon = float(epsilon)
        self.is_centred = isinstance(norm, nn.LayerNorm)
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """Return (B, T, O) for `x` (B, T, O) and `gates` (B, 1, 1)."""
        wide = x.to(self.scale.dtype)
        if self.is_centred:
            wide = wide - wide.mean(-1, keepdim=True)
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return normed * (self.scale if gates is None else self.scale * gates)


class LowRankLinear(nn.Module):
    """x L R + bias with L (I, 1) and R (1, O), both Glorot-uniform; the bias is zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(inputs, 1))
        self.right = nn.Parameter(torch.empty(1, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.left)
        nn.init.xavier_uniform_(self.right)

    def forward(self, x: Tensor, gates: Tensor | None = None) -> Tensor:
        """Return (B, T, O), times `gates` (B, 1, 1)."""
        inner = x @ self.left
        if gates is None:
            return inner @ self.right + self.bias
        return (inner * gates) @ self.right + self.bias * gates


class LowRankAdapterDelta(nn.Module):
    """GELU(y L1 R1 + b1) L2 R2 + b2 (GELU by tanh): small, but not zero at first."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down = LowRankLinear(width, inner)
        self.up = LowRankLinear(inner, width)

    def forward(self, y: Tensor, gates: Tensor | None) -> Tensor:
        """Return what is added to `y` (B, T, O); `gates` (B, 1, 1)."""
        inner = F.gelu(self.down(y.to(self.down.left.dtype)), approximate="tanh")
        changed: Tensor = self.up(inner, gates)
        return changed


class PlaceDeltas(nn.Module):
    """All changes at one module's output.

    Args:
        parallel: Name -> change that reads the module's input, and the number of its gates.
        adapter: A change that reads the changed output, with one gate; or None.
    """

    def __init__(
        self, parallel: Sequence[tuple[str, nn.Module, int]], adapter: nn.Module | None
    ) -> None:
        super().__init__()
        self._parallel = [(name, num_gates) for name, _, num_gates in parallel]
        for name, module, _ in parallel:
            self.add_module(name, module)
        self.adapter = adapter

    def forward(self, x: Tensor, output: Tensor, gates: Tensor | None) -> Tensor:
        """Return the changed `output` (B, T, O).

        Args:
            x: Input of the module, (B, T, I).
            output: Its output, (B, T, O).
            gates: (B, 1, G) in the order of the changes, the adapter's last; or None for ones.
        """
        start = 0
        for name, num_gates in self._parallel:
            own = None if gates is None else gates[..., start : start + num_gates]
            start += num_gates
            output = output + self.get_submodule(name)(x, own).to(output.dtype)
        if self.adapter is not None:
            own = None if gates is None else gates[..., start:]
            output = output + self.adapter(output, own).to(output.dtype)
        return output
