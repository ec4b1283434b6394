"""SSP: a search for the sparse structure of parameter-efficient tuning, S3PET.

Hu et al. 2022, arXiv:2206.07382.

    p_i = lambda sigmoid((alpha_i - b) / beta)           with b such that sum_i n_i p_i = budget
    z_i = sigmoid(logit(u_i) + logit(p_i))               u_i ~ U(0, 1), the relaxed Bernoulli
    min_alpha L_val(w*(alpha), alpha)   where   w*(alpha) = argmin_w L_train(w, alpha)

Space (`space`): at each projection r LoRA modules alpha B A of rank 1 and a bias; at each normalisation a
change of its scale and a bias; after attention and after the feed-forward network an adapter whose matrices
(d, d / reduction_factor) and back have rank 1.

Search (`gates`, `places`, `layers`): every candidate i (n_i parameters) changes one module's output by z_i
times its own term. The terms' parameters w and the alpha_i are trained in turn. Outside training z = p.

Retraining: the candidates with the highest p that fit into the budget are trained from scratch, without
gates, on all of train.

Start: LoRA's A Kaiming-uniform, B zero; biases and scale changes zero; adapters Glorot-uniform; alpha_i
zero. The adapters' small output makes the start differ a little from the backbone, as in the authors'
code (github.com/thunlp/S3Delta), from which the search space, LoRA's alpha = 16, the architecture's learning
rate 0.1, beta = 1, one noise per step and the greedy choice come too. There the training set is halved:
`bilevel: train_half`.

Deviations: first-order, as the rest of this benchmark (the authors: second-order DARTS). r LoRA modules of
rank 1 at each projection where the authors have one: with one the whole space has 5.2M parameters on
Llama-2 7B, less than the 8.6M of the PEDRO paper. A gated feed-forward network has its gate projection as
a further place (the authors' backbone is T5).

The module imports no torch, so that a count needs no weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.methods.ssp.space import (
    Candidate,
    Place,
    by_place,
    search_space,
    select,
    sites_of,
)
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.context import current_context
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

    from pedro_bench.methods.ssp.gates import BudgetGates

_GATES_BG = "ssp/gates"
"""Name of the drawn gates, (B, G), in a prompt context's state."""

_GATES = "gates"
"""Path of the gates' module in the adapter."""


@dataclass(frozen=True, kw_only=True)
class Ssp(Method):
    """S3PET's settings.

    Attributes:
        budget: Parameters of the found structure: a whole number, or a share of all candidates' in
            (0, 1). At most so many are found.
        r: LoRA modules of rank 1 at each projection, hence the highest rank it can get; at least 1.
        reduction_factor: Hidden size over an adapter's inner width, at least 1.
        alpha: Scale of each LoRA module's update, alpha / r with r = 1; above 0. The authors' code and
            the YAML have 16. The default, 1, is the scale of saved runs whose settings lack it.
        beta: Temperature of p, above 0.
        structure: Names of the candidates to train, without a search; None: search first.
    """

    budget: float
    r: int
    reduction_factor: int
    beta: float
    alpha: float = checks.later(1.0, neutral=1.0)
    structure: tuple[str, ...] | None = None

    is_bilevel: ClassVar[bool] = True
    starts_at_backbone: ClassVar[bool] = False
    counts_last_phase: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("method.budget", self.budget, above=0)
        if self.budget >= 1 and self.budget != int(self.budget):
            raise ConfigError(
                "method.budget must be a whole number of parameters or a share below 1, got "
                f"{self.budget!r}."
            )
        checks.integer("method.r", self.r)
        checks.integer("method.reduction_factor", self.reduction_factor)
        checks.number("method.beta", self.beta, above=0)
        checks.number("method.alpha", self.alpha, above=0)
        if self.structure is None:
            return
        object.__setattr__(self, "structure", tuple(self.structure))
        if not self.structure or len(set(self.structure)) != len(self.structure):
            raise ConfigError(
                "method.structure must list distinct candidates, at least one, or be null, got "
                f"{list(self.structure)!r}."
            )
        if self.bilevel != "none":
            raise ConfigError(
                f"method.bilevel must be none with a method.structure, got {self.bilevel!r}: there "
                "is nothing left to search."
            )

    def candidates(self, shape: BackboneShape) -> list[Candidate]:
        """List the search space of a backbone, place by place."""
        return search_space(shape, self.r, self.reduction_factor)

    def limit(self, shape: BackboneShape) -> int:
        """Return the budget in parameters of this backbone.

        Raises:
            ConfigError: If no candidate fits into it, or all do together.
        """
        sizes = [candidate.size for candidate in self.candidates(shape)]
        limit = int(self.budget if self.budget >= 1 else self.budget * sum(sizes))
        if not min(sizes) <= limit < sum(sizes):
            raise ConfigError(
                f"method.budget must hold the smallest candidate ({min(sizes)} parameters) and not "
                f"all of them ({sum(sizes)}) on this backbone, got {self.budget!r}."
            )
        return limit

    def _built(self, shape: BackboneShape) -> list[Candidate]:
        """Return the candidates to build: the structure's, or all of them.

        Raises:
            ConfigError: If the structure names no candidate of this backbone or breaks the budget.
        """
        everything, limit = self.candidates(shape), self.limit(shape)
        if self.structure is None:
            return everything
        kept = select(everything, self.structure)
        size = sum(candidate.size for candidate in kept)
        if size > limit:
            raise ConfigError(
                f"method.structure must have at most the budget's {limit} parameters, got {size}."
            )
        return kept

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the structure's candidates (n_i); before the search, the budget, which bounds them.

        LoRA in + out, bias and scale out, adapter 3 d + 3 inner; all count as the paper counts them.
        """
        limit = self.limit(shape)
        if self.structure is None:
            return ParameterCount(matrices=limit, trainable=limit)
        size = sum(candidate.size for candidate in self._built(shape))
        return ParameterCount(matrices=size, trainable=size)

    def attach(self, injection: Injection) -> None:
        """Put all candidates with their gates, or the structure without gates, at their places."""
        built, limit = self._built(injection.shape), self.limit(injection.shape)
        sites = sites_of(injection)
        if self.is_searching:
            self._add_gates(injection, built, limit)
        for place in by_place(built):
            self._add_deltas(injection, sites[place.path], place)

    def _add_gates(self, injection: Injection, built: Sequence[Candidate], limit: int) -> None:
        """Draw the gates where the prompt enters the model; all layers of a forward share them."""
        from pedro_bench.methods.ssp.gates import BudgetGates

        names, sizes = [one.name for one in built], [one.size for one in built]
        gates = injection.add(_GATES, BudgetGates(names, sizes, budget=limit, beta=self.beta))

        def draw_gates(_: "Tensor", embedded: "Tensor") -> "Tensor":
            context = current_context()
            if context.stage == "prompt":
                context.state[_GATES_BG] = gates().expand(context.num_examples, -1)
            return embedded

        injection.on_output(injection.sites(("embedding",))[0], draw_gates)

    def _add_deltas(self, injection: Injection, site: Site, place: Place) -> None:
        """Let a place's changes act on its output, in a search through their part of the gates."""
        from pedro_bench.methods.ssp.places import deltas_at

        deltas = injection.add(
            place.path,
            deltas_at(site, place, alpha=self.alpha, reduction_factor=self.reduction_factor),
        )

        def change(x_BTI: "Tensor", output_BTO: "Tensor") -> "Tensor":
            gates_B1G = None
            if self.is_searching:
                gates_B1G = current_context().state[_GATES_BG][:, place.gates].unsqueeze(1)
            changed_BTO: Tensor = deltas(x_BTI, output_BTO, gates_B1G)
            return changed_BTO

        injection.on_output(site, change)

    def parameter_groups(self, adapter: "nn.Module") -> "Mapping[str, list[Parameter]]":
        """Candidates' parameters as `weights`, alpha as `architecture`."""
        if not self.is_searching:
            return super().parameter_groups(adapter)
        alpha = _gates(adapter).alpha
        weights = [parameter for parameter in adapter.parameters() if parameter is not alpha]
        return {"weights": weights, "architecture": [alpha]}

    def after_step(self, adapter: "nn.Module", step: int, num_steps: int) -> None:
        """Draw the next step's noise."""
        if self.is_searching:
            _gates(adapter).draw_noise()

    def runtime_state(self, adapter: "nn.Module") -> "dict[str, Tensor]":
        """Return the noise and its generator."""
        return {} if not self.is_searching else _gates(adapter).runtime_state()

    def load_runtime_state(self, adapter: "nn.Module", state: "Mapping[str, Tensor]") -> None:
        """Take them back."""
        if self.is_searching:
            _gates(adapter).load_runtime_state(state)

    def following(self, adapter: "nn.Module") -> "Method | None":
        """After the search: this method with the structure found."""
        if not self.is_searching:
            return None
        found = _gates(adapter).chosen()
        return replace(self, structure=found, bilevel="none", architecture_lr=None)


def _gates(adapter: "nn.Module") -> "BudgetGates":
    gates: BudgetGates = adapter.get_submodule(_GATES)  # type: ignore[assignment]
    return gates
