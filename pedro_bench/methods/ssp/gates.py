"""SSP's gates: one for each candidate, all under one budget of parameters.

    p_i = lambda * sigmoid((alpha_i - b) / beta)            with b such that sum_i n_i p_i = budget
    z_i = sigmoid(log(u_i / (1 - u_i)) + log(p_i / (1 - p_i)))            u_i ~ U(0, 1)

alpha_i, the architecture parameter, is all that is trained here; n_i is the candidate's size. p_i is the
probability that the candidate is kept; z_i is the number its change is multiplied by.

The first line is the paper's "shifted global sigmoid". b, the shift, is a constant to the gradient. lambda
is 1 in value: S.detach() / S with S the sum of the sigmoids, so that raising one alpha lowers every other p
in the gradient. The second line is the relaxed Bernoulli (binary concrete, temperature 1). Outside training
z = p.

The noise u is drawn once for each optimiser step, from a generator of its own: all forwards of a step, all
processes and a recomputed layer see the same gates.

Legend: G candidates, each with one gate.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_HALVINGS = 100
"""Halvings of the shift's interval in float64: more than its 52 bits resolve."""

_REACH_BETAS = 60.0
"""How far the shift is looked for beyond the alphas, in units of beta: sigmoid(-60) n is below any budget of
at least one parameter, and sigmoid(60) is 1 in float64."""

_MARGIN = 1e-6
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
    low, high = alpha.min() - _REACH_BETAS * beta, alpha.max() + _REACH_BETAS * beta
    for _ in range(_HALVINGS):
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
        self.noise_G.copy_(drawn.clamp(_MARGIN, 1 - _MARGIN))

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
            inner_G = probabilities_G.clamp(_MARGIN, 1 - _MARGIN)
            return torch.sigmoid(self.noise_G.logit() + inner_G.logit())

    def chosen(self) -> tuple[str, ...]:
        """Return the names of the candidates to keep: by falling p, each that still fits into the budget.

        p rises with alpha, so alpha gives the order. Equal ones are taken in the candidates' own order.
        """
        alphas = self.alpha.detach().tolist()
        by_falling_alpha = sorted(range(len(alphas)), key=lambda index: -alphas[index])
        left, kept = self.budget, set[int]()
        for index in by_falling_alpha:
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
