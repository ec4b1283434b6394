"""SSP: a search for the sparse structure of parameter-efficient tuning, S3PET.

Hu et al. 2022, arXiv:2206.07382.

    p_i = lambda sigmoid((alpha_i - b) / beta)           with b such that sum_i n_i p_i = budget
    z_i = sigmoid(logit(u_i) + logit(p_i))               u_i ~ U(0, 1), the relaxed Bernoulli
    min_alpha L_val(w*(alpha), alpha)   where   w*(alpha) = argmin_w L_train(w, alpha)

Every candidate i (n_i parameters) changes one module's output by z_i times its own term (`layers`):
at each projection r LoRA modules alpha B A of rank 1 and a bias; at each normalisation a change of its
scale and a bias; after attention and after the feed-forward network an adapter whose matrices (d,
d / reduction_factor) and back have rank 1. Outside training z = p. After the search the candidates
with the highest p that fit into the budget are trained from scratch, without gates, on all of train.

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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.context import current_context
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

    from pedro_bench.methods.ssp.layers import BudgetGates


_ADAPTED = ("attn_out", "ffn_down")
"""Projections whose outputs are those of attention and of the feed-forward network."""

_SHOWN = 5
"""Names in the message about an unknown one: all would be more than a thousand."""


@dataclass(frozen=True)
class Candidate:
    """One module that the search may keep: kind (`lora`, `bias`, `scale`, `adapter`), `place`, and `size`.

    `place` is the changed module's path, such as `layers.3.query`; the `name` is place and kind, of LoRA
    modules also the number within the place. `size` is in parameters.
    """

    place: str
    kind: str
    name: str
    size: int


def search_space(shape: BackboneShape, r: int, reduction_factor: int) -> list[Candidate]:
    """List all candidates, place by place, within a place in the order of their gates."""
    found: list[Candidate] = []

    def add(place: str, kind: str, size: int, suffix: str = "") -> None:
        found.append(Candidate(place, kind, f"{place}.{kind}{suffix}", size))

    def add_norm(place: str) -> None:
        add(place, "scale", shape.hidden_size)
        add(place, "bias", shape.hidden_size)

    for layer, widths in enumerate(shape.widths):
        for role, width in widths.items():
            place = f"layers.{layer}.{role}"
            for number in range(r):
                add(place, "lora", width.inputs + width.outputs, f"_{number}")
            add(place, "bias", width.outputs)
            if role in _ADAPTED:
                inner = inner_width(width.outputs, reduction_factor)
                add(place, "adapter", 3 * width.outputs + 3 * inner)
        for index in range((shape.num_norms - 1) // shape.num_layers):
            add_norm(f"layers.{layer}.norm_{index}")
    add_norm("norm")
    return found


def inner_width(width: int, reduction_factor: int) -> int:
    """Return an adapter's inner width, at least 1."""
    return max(1, width // reduction_factor)


def select(space: Sequence[Candidate], names: Sequence[str]) -> list[Candidate]:
    """Return the named candidates in the order of the space.

    Raises:
        ConfigError: If a name is not in the space.
    """
    known = dict.fromkeys(candidate.name for candidate in space)
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=_SHOWN, cutoff=0)
            raise ConfigError(
                f"method.structure must name candidates of this backbone, got {name!r}."
                f"{near_match(name, nearest)}"
            )
    wanted = set(names)
    return [candidate for candidate in space if candidate.name in wanted]


def by_place(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Group candidates by place, order kept."""
    grouped: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        grouped.setdefault(candidate.place, []).append(candidate)
    return grouped


def places(injection: Injection) -> Iterator[tuple[str, Site]]:
    """Yield the path and the site of each place of the search space in a loaded backbone."""
    for site in injection.sites(tuple(injection.shape.widths[0])):
        yield f"layers.{site.layer}.{site.role}", site
    seen: dict[int, int] = {}
    for site in injection.sites(("norm",)):
        if site.layer is None:
            yield "norm", site
            continue
        index = seen.setdefault(site.layer, 0)
        seen[site.layer] += 1
        yield f"layers.{site.layer}.norm_{index}", site


_GATES = "ssp/gates"


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

    def _kept(self, shape: BackboneShape) -> list[Candidate]:
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
        size = sum(candidate.size for candidate in self._kept(shape))
        return ParameterCount(matrices=size, trainable=size)

    def attach(self, injection: Injection) -> None:
        """Put all candidates with their gates, or the structure without gates, at their places."""
        kept, limit = self._kept(injection.shape), self.limit(injection.shape)
        sites = dict(places(injection))
        if self.structure is None:
            self._add_gates(injection, kept, limit)
        start = 0
        for place, own in by_place(kept).items():
            gates = slice(start, start + len(own)) if self.structure is None else None
            start += len(own)
            _wire(injection, sites[place], place, self._deltas(sites[place], own), gates)

    def _add_gates(self, injection: Injection, kept: Sequence[Candidate], limit: int) -> None:
        """Draw the gates where the prompt enters the model; all layers of a forward share them."""
        from pedro_bench.methods.ssp.layers import BudgetGates

        names, sizes = [one.name for one in kept], [one.size for one in kept]
        gates = injection.add("gates", BudgetGates(names, sizes, budget=limit, beta=self.beta))

        def open_gates(_: "Tensor", embedded: "Tensor") -> "Tensor":
            context = current_context()
            if context.stage == "prompt":
                context.state[_GATES] = gates().expand(context.num_examples, -1)
            return embedded

        injection.on_output(injection.sites(("embedding",))[0], open_gates)

    def _deltas(self, site: Site, own: Sequence[Candidate]) -> "nn.Module":
        """Build one place's changes."""
        from pedro_bench.methods.ssp import layers

        kinds = [candidate.kind for candidate in own]
        parallel: list[tuple[str, nn.Module, int]] = []
        if "lora" in kinds:
            number = kinds.count("lora")
            lora = layers.LoraDelta(site.inputs, site.outputs, number, self.alpha)
            parallel.append(("lora", lora, number))
        if "scale" in kinds:
            parallel.append(("scale", layers.NormScaleDelta(site.module, site.outputs), 1))
        if "bias" in kinds:
            parallel.append(("bias", layers.BiasDelta(site.outputs), 1))
        adapter = None
        if "adapter" in kinds:
            inner = inner_width(site.outputs, self.reduction_factor)
            adapter = layers.LowRankAdapterDelta(site.outputs, inner)
        return layers.PlaceDeltas(parallel, adapter)

    def parameter_groups(self, adapter: "nn.Module") -> "Mapping[str, list[Parameter]]":
        """Candidates' parameters as `weights`, alpha as `architecture`."""
        if self.structure is not None:
            return super().parameter_groups(adapter)
        alpha = _gates(adapter).alpha
        weights = [parameter for parameter in adapter.parameters() if parameter is not alpha]
        return {"weights": weights, "architecture": [alpha]}

    def after_step(self, adapter: "nn.Module", step: int, num_steps: int) -> None:
        """Draw the next step's noise."""
        if self.structure is None:
            _gates(adapter).draw_noise()

    def runtime_state(self, adapter: "nn.Module") -> "dict[str, Tensor]":
        """Return the noise and its generator."""
        return {} if self.structure is not None else _gates(adapter).runtime_state()

    def load_runtime_state(self, adapter: "nn.Module", state: "Mapping[str, Tensor]") -> None:
        """Take them back."""
        if self.structure is None:
            _gates(adapter).load_runtime_state(state)

    def following(self, adapter: "nn.Module") -> "Method | None":
        """After the search: this method with the structure found."""
        if self.structure is not None:
            return None
        found = _gates(adapter).chosen()
        return replace(self, structure=found, bilevel="none", architecture_lr=None)


def _gates(adapter: "nn.Module") -> "BudgetGates":
    gates: BudgetGates = adapter.get_submodule("gates")  # type: ignore[assignment]
    return gates


def _wire(
    injection: Injection, site: Site, place: str, deltas: "nn.Module", gates: slice | None
) -> None:
    """Let a place's changes act on its output, through their part of the gates if there are any."""
    module = injection.add(place, deltas)

    def change(x: "Tensor", output: "Tensor") -> "Tensor":
        own = None
        if gates is not None:
            own = current_context().state[_GATES][:, gates].unsqueeze(1)
        changed: Tensor = module(x, output, own)
        return changed

    injection.on_output(site, change)
