"""LoReFT: a low-rank linear subspace of some hidden states is replaced at a few positions of the prompt.

    h' = h + R^T (W h + b - R h)        Wu et al. 2024, arXiv:2404.03592, eq. (2)

h is a decoder layer's output at one of the prompt's first `prefix` or last `suffix` tokens; all other
positions, the answer's among them, pass unchanged, so nothing runs for a generated token. R (r, d) has
orthonormal rows, W (r, d), b (r,): one triple a layer where `tied`, else one for the prefix and one for the
suffix. A prompt of n tokens has at most n // 2 of either, so they never overlap.

Initialisation: R orthonormal at random, W and b as PyTorch makes a linear map, as in the authors' code. The
adapted model does not start at the backbone.

Deviations: R^T is a product of r Householder reflections, as in the authors' code, but without the fixed
(d, d) matrix that PyTorch's `orthogonal` multiplies them by. All of it is float32 whatever the backbone's
dtype.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.context import PromptContext, current_context
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LoReft(Method):
    """LoReFT's settings.

    Attributes:
        r: Rank of the subspace, at least 1 and at most the hidden size.
        prefix: Most tokens changed at the prompt's beginning, at least 0.
        suffix: Most tokens changed at the prompt's end, at least 0; one of the two is above 0.
        tied: Whether prefix and suffix share R, W and b.
        layers: Layers whose outputs are changed, counted from 0; None for all.
        dropout: Dropout on the changed hidden states in training, in [0, 1).
    """

    r: int
    prefix: int
    suffix: int
    tied: bool
    layers: tuple[int, ...] | None
    dropout: float

    starts_at_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r)
        checks.integer("method.prefix", self.prefix, least=0)
        checks.integer("method.suffix", self.suffix, least=0)
        if self.prefix + self.suffix == 0:
            raise ConfigError(
                "method.suffix must be at least 1 with method.prefix=0, got 0: without a position "
                "nothing is changed."
            )
        checks.flag("method.tied", self.tied)
        if not self.tied and 0 in (self.prefix, self.suffix):
            raise ConfigError(
                "method.tied must be true where method.prefix or method.suffix is 0, got False: one "
                "intervention is all there is."
            )
        checks.number("method.dropout", self.dropout, least=0, below=1)
        if self.layers is not None:
            self._check_layers(tuple(checks.items("method.layers", self.layers, "layers")))

    def _check_layers(self, layers: tuple[int, ...]) -> None:
        for layer in layers:
            checks.integer("method.layers", layer, least=0)
        if not layers or len(set(layers)) != len(layers):
            raise ConfigError(
                f"method.layers must list distinct layers, at least one, or be null, got {list(layers)!r}."
            )
        object.__setattr__(self, "layers", layers)

    @property
    def _parts(self) -> tuple[str, ...]:
        """Names of a layer's interventions."""
        return ("both",) if self.tied else ("prefix", "suffix")

    def _chosen(self, shape: BackboneShape) -> tuple[int, ...]:
        chosen = tuple(range(shape.num_layers)) if self.layers is None else self.layers
        if max(chosen) >= shape.num_layers:
            raise InjectionError(
                f"method.layers must be below the backbone's {shape.num_layers} layers, got "
                f"{max(chosen)}: they are counted from 0."
            )
        if self.r > shape.hidden_size:
            raise ConfigError(
                f"method.r must be at most the backbone's hidden size {shape.hidden_size}, got {self.r}."
            )
        return chosen

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Matrices: 2 r d for each intervention (R and W); with r more for b.

        Raises:
            InjectionError: If a layer is not there.
            ConfigError: If r exceeds the hidden size.
        """
        number = len(self._chosen(shape)) * len(self._parts)
        matrices = 2 * self.r * shape.hidden_size * number
        return ParameterCount(matrices=matrices, trainable=matrices + self.r * number)

    def attach(self, injection: Injection) -> None:
        """Change the chosen layers' outputs at the prompt's first and last tokens.

        Raises:
            InjectionError: If a layer is not there, or the backbone writes its answer in layers that no
                prompt passes.
            ConfigError: If r exceeds the hidden size.
        """
        chosen = self._chosen(injection.shape)
        if injection.kind == "encoder_decoder":
            raise InjectionError(
                f"method {self.name!r} must find the prompt's tokens in every layer, got an "
                "encoder-decoder, whose decoder has none."
            )
        for site in injection.sites(("block",)):
            if site.layer in chosen:
                self._intervene(injection, site)

    def _intervene(self, injection: Injection, site: Site) -> None:
        from pedro_bench.methods.loreft.layers import SubspaceIntervention

        interventions = {
            part: injection.add(
                f"layers.{site.layer}.{part}",
                SubspaceIntervention(injection.shape.hidden_size, self.r, dropout=self.dropout),
            )
            for part in self._parts
        }

        def change(_: "Tensor", output_BTD: "Tensor") -> "Tensor":
            context = current_context()
            if not context.reads_prompt_end:
                return output_BTD
            masks = context.once("loreft", None, lambda: self._masks(context))
            width = output_BTD.shape[1]
            for part, intervention in interventions.items():
                seen_BT = masks[part][:, context.num_cached : context.num_cached + width]
                output_BTD = intervention(output_BTD, seen_BT)
            return output_BTD

        injection.on_output(site, change)

    def _masks(self, context: PromptContext) -> "dict[str, Tensor]":
        """Return, for each of a layer's interventions, where it acts: (B, T) over the prompt forward."""
        from pedro_bench.methods.loreft.layers import ends_of

        first_BT, last_BT = ends_of(context.prompt_mask_BT, self.prefix, self.suffix)
        if self.tied:
            return {"both": first_BT | last_BT}
        return {"prefix": first_BT, "suffix": last_BT}
