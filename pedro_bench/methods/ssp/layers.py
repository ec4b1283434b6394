"""S3PET's candidates (arXiv:2206.07382): small changes to a module's output, and gates that share a budget.

    y = m(x) + z_l alpha B A x + z_b b        a projection: LoRA of rank 1 (several), a bias
    y = m(x) + z_s s * norm(x) + z_b b        a normalisation: a change of its scale, a bias
    y <- y + z_a (GELU(y L1 R1 + b1) L2 R2 + b2)      after attention and after the feed-forward network

    p_i = lambda * sigmoid((alpha_i - b) / beta)        with b such that sum_i n_i p_i = budget
    z_i = sigmoid(log(u_i / (1 - u_i)) + log(p_i / (1 - p_i)))        u_i ~ U(0, 1)

z are the gates of a search; without gates all are 1. b is a constant to the gradient. lambda is 1 in value:
S.detach() / S with S the sum of the sigmoids, so that raising one alpha lowers every other p in the gradient
("shifted global sigmoid"). z is the relaxed Bernoulli (binary concrete, temperature 1); outside training
z = p. The noise u is drawn once for each optimiser step, from a generator of its own: all forwards of a step,
all processes and a recomputed layer see the same gates.

L1, R1, L2, R2 have rank 1. Everything is computed in float32 and cast to the dtype of the output; under
autocast its products are in bfloat16. The changes of a found structure have a form for many tenants.

Legend: B examples, T tokens, I in-features, O out-features, K LoRA candidates, M inner width of an
adapter, G gates of one place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.errors import InjectionError
from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block

_BISECTIONS = 100
"""Halvings of b's interval in float64: more than its 52 bits resolve."""
_REACH = 60.0
"""sigmoid(-60) n is below any budget of at least one parameter; sigmoid(60) is 1 in float64."""
_EPSILON = 1e-6
"""Noise and probabilities are kept this far from 0 and 1, where the logit is infinite."""


def solve_shift(alpha_G: Tensor, sizes_G: Tensor, budget: float, beta: float) -> Tensor:
    """Return b (float64 scalar) with sum_i n_i sigmoid((alpha_i - b) / beta) = budget, by bisection.

    Args:
        alpha_G: Architecture parameters.
        sizes_G: Parameters n_i of each candidate.
        budget: Expected number of parameters, above 0 and below the sum of all sizes.
        beta: Temperature, above 0.
    """
    alpha, sizes = alpha_G.detach().double(), sizes_G.double()
    low, high = alpha.min() - _REACH * beta, alpha.max() + _REACH * beta
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_above = (sizes * torch.sigmoid((alpha - middle) / beta)).sum() > budget
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    return (low + high) / 2


class BudgetGates(nn.Module):
    """One gate for each candidate.

    alpha starts at zero, so that all candidates begin with the same probability.

    Args:
        names: Candidates' names.
        sizes: Parameters of each candidate.
        budget: As in `solve_shift`.
        beta: As in `solve_shift`.

    Attributes:
        alpha: Architecture parameters (G,).
        names: As given.
        sizes: As given.
    """

    sizes_G: Tensor
    noise_G: Tensor

    def __init__(
        self, names: Sequence[str], sizes: Sequence[int], *, budget: int, beta: float
    ) -> None:
        super().__init__()
        self.names, self.sizes = tuple(names), tuple(sizes)
        self.budget, self.beta = budget, beta
        self.alpha = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("sizes_G", torch.tensor(self.sizes), persistent=False)
        self.register_buffer("noise_G", torch.empty(len(self.names)), persistent=False)
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.draw_noise()

    def draw_noise(self) -> None:
        """Draw u anew: once for each optimiser step."""
        drawn = torch.rand(len(self.names), generator=self._generator)
        self.noise_G.copy_(drawn.clamp(_EPSILON, 1 - _EPSILON))

    def probabilities(self) -> Tensor:
        """Return p (G,) in float32; its value meets the budget, its gradient is the shifted one."""
        shift = solve_shift(self.alpha, self.sizes_G, self.budget, self.beta)
        sigmoids_G = torch.sigmoid((self.alpha - shift.float()) / self.beta)
        total = sigmoids_G.sum()
        return sigmoids_G * (total.detach() / total)

    def forward(self) -> Tensor:
        """Return z (G,): with noise in training, p otherwise."""
        with torch.autocast(self.alpha.device.type, enabled=False):
            probabilities_G = self.probabilities()
            if not self.training:
                return probabilities_G
            kept_G = probabilities_G.clamp(_EPSILON, 1 - _EPSILON)
            return torch.sigmoid(self.noise_G.logit() + kept_G.logit())

    def chosen(self) -> tuple[str, ...]:
        """Return the candidates to keep: by falling p, each that still fits into the budget.

        Equal p are taken in the candidates' own order.
        """
        alpha = self.alpha.detach().tolist()
        order = sorted(range(len(alpha)), key=lambda index: -alpha[index])
        left, kept = self.budget, set[int]()
        for index in order:
            if self.sizes[index] <= left:
                left -= self.sizes[index]
                kept.add(index)
        return tuple(name for index, name in enumerate(self.names) if index in kept)

    def runtime_state(self) -> dict[str, Tensor]:
        """Return the noise in force and the state of its generator."""
        return {"noise": self.noise_G.cpu().clone(), "generator": self._generator.get_state()}

    def load_runtime_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `runtime_state` gave."""
        self.noise_G.copy_(state["noise"])
        self._generator.set_state(state["generator"].clone())


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


class NormScaleDelta(nn.Module):
    """s * norm(x), s (O,) zero at first: what adding s to the normalisation's own scale would add.

    Args:
        norm: The backbone's normalisation: of the root mean square, or centred first (LayerNorm).
        width: O.

    Raises:
        InjectionError: If the normalisation does not have its epsilon.
    """

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.normed = PlainNorm.of(norm, width)
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, gates: Tensor | None) -> Tensor:
        """Return (B, T, O) for `x` (B, T, O) and `gates` (B, 1, 1)."""
        return self.normed(x.to(self.scale.dtype)) * (
            self.scale if gates is None else self.scale * gates
        )


def _is_centred(norm: nn.Module, width: int) -> bool:
    """Whether a normalisation subtracts the mean: then a constant added to its input changes nothing."""
    own = {name: torch.ones(tuple(one.shape)) for name, one in norm.named_parameters()}
    x = torch.tensor([1.0, -1.0]).repeat(width)[None, None, :width]
    with torch.no_grad():
        plain, moved = (torch.func.functional_call(norm, own, (one,)) for one in (x, x + 1))
    return torch.allclose(plain, moved, atol=1e-3)


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


class TenantDeltas(TenantBlock):
    """`PlaceDeltas` of a found structure for many tenants, who share the structure; without gates."""

    training_only = ("budget", "beta")

    def __init__(self, template: PlaceDeltas) -> None:
        super().__init__(template)
        own = dict(template.named_children())
        self.parallel = [name for name in own if name != "adapter"]
        lora, scale = own.get("lora"), own.get("scale")
        self.alpha = lora.alpha if isinstance(lora, LoraDelta) else 0.0
        self.normed = scale.normed if isinstance(scale, NormScaleDelta) else None

    def forward(self, x_BTI: Tensor, output_BTO: Tensor, gates: None = None) -> Tensor:
        """Return the output as each tenant's changes leave it."""
        rows = self.kept(x_BTI.device)
        for name in self.parallel:
            output_BTO = output_BTO + self._parallel(name, x_BTI, rows).to(output_BTO.dtype)
        if "adapter.down.left" in rows:
            output_BTO = output_BTO + _adapter(output_BTO, rows).to(output_BTO.dtype)
        return output_BTO

    def _parallel(self, name: str, x_BTI: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        """Return what one change adds, (B, T or 1, O)."""
        if name == "lora":
            inner_BTK = x_BTI.to(rows["lora.lora_A"].dtype) @ rows["lora.lora_A"].mT * self.alpha
            return inner_BTK @ rows["lora.lora_B"].mT
        if self.normed is not None and name == "scale":
            scale_B1O = rows["scale.scale"].unsqueeze(1)
            return self.normed(x_BTI.to(scale_B1O.dtype)) * scale_B1O
        assert name == "bias"
        return rows["bias.bias"].unsqueeze(1)


def _adapter(y_BTO: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return `LowRankAdapterDelta` of each tenant's own, (B, T, O)."""

    def linear(part: str, x: Tensor) -> Tensor:
        left, right = rows[f"adapter.{part}.left"], rows[f"adapter.{part}.right"]
        return x @ left @ right + rows[f"adapter.{part}.bias"].unsqueeze(1)

    inner_BTM = linear("down", y_BTO.to(rows["adapter.down.left"].dtype))
    return linear("up", F.gelu(inner_BTM, approximate="tanh"))


tenant_block.register(PlaceDeltas, TenantDeltas)
