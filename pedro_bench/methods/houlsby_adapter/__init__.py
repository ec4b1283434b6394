"""Bottleneck adapters: small networks put in series with the sub-layers of a Transformer.

    x' = x + W2 GELU(W1 x + b1) + b2        Houlsby et al. 2019, arXiv:1902.00751, section 2.1

x is a sub-layer's output, just before it is added to the residual stream: the output of `attn_out` after
attention, of `ffn_down` after the feed-forward network. W1 (r, d) and W2 (d, r) start normal with
deviation 1e-3, cut at two deviations, b1 and b2 at zero: near the backbone, not at it.

Three configurations of it (`conf/method/*.yaml`):

- `houlsby_adapter`: after both sub-layers; the PEDRO paper's baseline, r = 18.
- `adapter_ffn`: after the feed-forward network alone, as Pfeiffer et al. 2021 (arXiv:2005.00247) found to
  suffice; r = 36 keeps Houlsby's budget.
- `adapterdrop`: after both, but none in the first layers (Rücklé et al. 2021, arXiv:2010.11918, the variant
  specialised to one number of layers): `dropped_fraction` of all layers, 5 of 12 in the paper's examples.

Deviations: W1 and W2 start as in Houlsby's code; the paper has deviation 1e-2. GELU is exact; the code has
its tanh approximation and the paper names no activation. Houlsby trains the layer normalisations too; the
PEDRO paper's count leaves no room for that, and the backbone stays frozen here. Pfeiffer has ReLU, and a
skip connection around BERT's post-normalisation, which a pre-norm decoder does not have. AdapterDrop's
robust variant draws the number of layers anew for each batch; ours is fixed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("attn_out", "ffn_down")
"""Projections that end a sub-layer: an adapter follows their output."""


@dataclass(frozen=True, kw_only=True)
class BottleneckAdapter(Method):
    """Settings of bottleneck adapters.

    Attributes:
        r: Bottleneck, at least 1.
        roles: After which sub-layers, out of ROLES.
        dropped_fraction: Part of the layers, from the first on, that get none; in [0, 1), rounded to
            whole layers.
    """

    r: int
    roles: tuple[str, ...]
    dropped_fraction: float

    starts_at_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r)
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, ROLES))
        checks.number("method.dropped_fraction", self.dropped_fraction, least=0, below=1)

    def _num_dropped(self, num_layers: int) -> int:
        """Return how many of the first layers get no adapter.

        Raises:
            ConfigError: If none would be left.
        """
        dropped = int(self.dropped_fraction * num_layers + 0.5)
        if dropped >= num_layers:
            raise ConfigError(
                "method.dropped_fraction must leave at least one layer with adapters, got "
                f"{self.dropped_fraction!r} of {num_layers} layers."
            )
        return dropped

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Matrices: 2 r d for each adapter; with its biases r + d more."""
        dropped = self._num_dropped(shape.num_layers)
        widths = [width.outputs for layer, _, width in shape.each(self.roles) if layer >= dropped]
        matrices = 2 * self.r * sum(widths)
        biases = self.r * len(widths) + sum(widths)
        return ParameterCount(matrices=matrices, trainable=matrices + biases)

    def attach(self, injection: Injection) -> None:
        """Put an adapter after the output of every chosen sub-layer."""
        from pedro_bench.methods.houlsby_adapter.layers import Bottleneck

        dropped = self._num_dropped(injection.shape.num_layers)
        for site in injection.sites(self.roles):
            if site.layer is None or site.layer < dropped:
                continue
            adapter = injection.add(
                f"layers.{site.layer}.{site.role}", Bottleneck(site.outputs, self.r)
            )

            def adapt(_: "Tensor", output: "Tensor", adapter: Bottleneck = adapter) -> "Tensor":
                adapted: Tensor = adapter(output)
                return adapted

            injection.on_output(site, adapt)
