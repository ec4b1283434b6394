"""Learned-Adapter: in every layer one adapter whose form is found by search (Zhang et al., ACL 2023).

    Adapter(y) = E(R(y W_down + b_down)) W_up + b_up,   added to y

y is the output of attention or of the feed-forward network, before the residual sum. R is a learnable
rational function (PEDRO's, eq. (7) there). Which of the two places, and which encoder operator E, is
searched layer by layer; then the adapters found are trained from scratch on all of train.

Shapes: W_down (d, r), W_up (r, d), b_down (r,), b_up (d,), 7 + 5 coefficients of R, W (r, r) of E.
Start: W_down ~ N(0, 0.02^2), the rest of the adapter zero, R as GELU, E the identity: the backbone.

No code has been published, and the PEDRO paper gives only the bottleneck (36) and the size (9.5M).
Ours, therefore:
- The operators E: `identity`; `linear`, z W; `gated`, z * 2 sigmoid(z W). They act on each token alone.
  Operators that mix tokens are left out: in decoding they would need a state that follows the beams.
- The search: in every layer an adapter at both places and all their operators at once, weighted by one
  softmax over the layer's (place, operator) pairs; its alpha on one half of train, the weights on the
  other (first-order DARTS; the paper has a search of its own, GDNAS). The pair with the largest alpha
  stays, the first of equals.
- R's coefficients are weights, not architecture; alpha's learning rate; the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import BackboneShape, Site, Width
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

    from pedro_bench.methods.learned_adapter.layers import Choice, LearnedAdapter

OPERATORS = ("identity", "linear", "gated")
PLACES = ("attn_out", "ffn_down")
"""Roles whose output an adapter can change: after attention, after the feed-forward network."""

_RATIONAL_COEFFICIENTS = 7 + 5
_ALPHA = ".choice.alpha"


@dataclass(frozen=True, kw_only=True)
class LearnedAdapters(Method):
    """Learned-Adapter's settings.

    Attributes:
        bottleneck_size: Inner width of the adapters, at least 1.
        places: Where an adapter may stand, out of PLACES.
        operators: What its encoder may be, out of OPERATORS.
        structure: `place.operator` for each layer, to train without a search; None: search first.
    """

    bottleneck_size: int
    places: tuple[str, ...]
    operators: tuple[str, ...]
    structure: tuple[str, ...] | None = None

    is_bilevel: ClassVar[bool] = True
    counts_last_phase: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.bottleneck_size", self.bottleneck_size)
        for key, known in (("places", PLACES), ("operators", OPERATORS)):
            names = checks.roles(f"method.{key}", getattr(self, key), known)
            object.__setattr__(self, key, names)
        if self.structure is None:
            self._check_search()
            return
        object.__setattr__(self, "structure", tuple(self.structure))
        for name in self.structure:
            if name not in self.options:
                raise ConfigError(
                    f"method.structure must name a place and an operator for each layer, got {name!r}."
                    f"{near_match(name, self.options)}"
                )
        if self.bilevel != "none":
            raise ConfigError(
                f"method.bilevel must be none with a method.structure, got {self.bilevel!r}: there "
                "is nothing left to search."
            )

    def _check_search(self) -> None:
        if len(self.options) < 2:
            raise ConfigError(
                "method.places and method.operators must leave something to choose, got "
                f"{self.options[0]!r} alone: give it as method.structure for every layer."
            )

    @property
    def options(self) -> tuple[str, ...]:
        """All `place.operator` pairs, in the order of alpha."""
        return tuple(".".join(pair) for pair in product(self.places, self.operators))

    def _structure(self, shape: BackboneShape) -> tuple[str, ...]:
        """Return the structure.

        Raises:
            ConfigError: If it is not one pair for each layer.
        """
        assert self.structure is not None
        if len(self.structure) != shape.num_layers:
            raise ConfigError(
                f"method.structure must have one entry for each of the {shape.num_layers} layers, got "
                f"{len(self.structure)}."
            )
        return self.structure

    def _size(self, widths: Mapping[str, Width], option: str) -> ParameterCount:
        """Count one adapter: 2 d r and its operator's r^2; with biases and R's coefficients."""
        place, operator = option.split(".")
        width, r = widths[place].outputs, self.bottleneck_size
        matrices = 2 * width * r + (0 if operator == "identity" else r * r)
        return ParameterCount(matrices, matrices + r + width + _RATIONAL_COEFFICIENTS)

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the layers' adapters; before the search, the largest that each layer can get."""
        chosen: Sequence[Sequence[str]]
        if self.structure is None:
            chosen = [self.options] * shape.num_layers
        else:
            chosen = [(option,) for option in self._structure(shape)]
        largest = [
            max((self._size(widths, option) for option in options), key=lambda one: one.trainable)
            for widths, options in zip(shape.widths, chosen, strict=True)
        ]
        return ParameterCount(
            matrices=sum(one.matrices for one in largest),
            trainable=sum(one.trainable for one in largest),
        )

    def attach(self, injection: Injection) -> None:
        """Put the adapters of the structure, or all of them with their layer's choice, into the layers."""
        from pedro_bench.methods.learned_adapter.layers import Choice, LearnedAdapter

        structure = None if self.structure is None else self._structure(injection.shape)
        choices: dict[int, Choice] = {}
        for site in injection.sites(self.places):
            layer = site.layer or 0
            if structure is None:
                operators = self.operators
                if layer not in choices:
                    choice = Choice(len(self.options))
                    choices[layer] = injection.add(f"layers.{layer}.choice", choice)
            elif structure[layer].startswith(f"{site.role}."):
                operators = (structure[layer].partition(".")[2],)
            else:
                continue
            adapter = injection.add(
                f"layers.{layer}.{site.role}",
                LearnedAdapter(site.outputs, self.bottleneck_size, operators),
            )
            _wire(injection, site, adapter, choices.get(layer), self._shares(site.role))

    def _shares(self, place: str) -> slice:
        """Return where the operators of a place stand among the options."""
        first = self.places.index(place) * len(self.operators)
        return slice(first, first + len(self.operators))

    def parameter_groups(self, adapter: "nn.Module") -> "Mapping[str, list[Parameter]]":
        """Adapters' parameters as `weights`, the choices' alpha as `architecture`."""
        if self.structure is not None:
            return super().parameter_groups(adapter)
        groups: dict[str, list[Parameter]] = {"weights": [], "architecture": []}
        for name, parameter in adapter.named_parameters():
            groups["architecture" if name.endswith(_ALPHA) else "weights"].append(parameter)
        return groups

    def following(self, adapter: "nn.Module") -> "Method | None":
        """After the search: this method with the largest alpha's pair in every layer."""
        if self.structure is not None:
            return None
        alphas = {
            int(name.split(".")[1]): alpha.tolist()
            for name, alpha in adapter.named_parameters()
            if name.endswith(_ALPHA)
        }
        found = tuple(
            self.options[alphas[layer].index(max(alphas[layer]))] for layer in sorted(alphas)
        )
        return replace(self, structure=found, bilevel="none", architecture_lr=None)


def _wire(
    injection: Injection,
    site: Site,
    adapter: "LearnedAdapter",
    choice: "Choice | None",
    shares: slice,
) -> None:
    """Let an adapter change its site's output, in the search with its shares of the layer's choice."""

    def change(_: "Tensor", output: "Tensor") -> "Tensor":
        changed: Tensor = adapter(output, None if choice is None else choice()[shares])
        return changed

    injection.on_output(site, change)
