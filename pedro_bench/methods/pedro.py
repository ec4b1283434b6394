"""PEDRO: prompt-dependent representation modification (Xie et al.).

In every layer a vector generator reads the prompt's hidden states h (the layer's input) and makes

    l_q, l_v, l_u = VG(h)                                                    eq. (3)
    Q' = l_q * Q,   V' = l_v * V        softmax(Q' K / sqrt(d)) V'           eq. (4)
    U' = l_u * U                        (g_ffn(G) * U') W_D                  eq. (5)
    l = g(Pooler(h) W_down) W_up + b_up                                      eq. (6)
    g = R(x), a learnable rational function                                  eq. (7)

Pooler is the last prompt token. The vectors scale every position, prompt and answer. They are made once,
when the prompt passes through the model, and kept with that generation (`PromptContext.state`); no
generator runs for a generated token, and beams of one prompt share its vectors.

The paper calls h "the hidden states of the input prompt at the current Transformer layer". `reads: residual`,
the default, takes the residual stream that enters the layer; `normalised` takes what the layer projects Q
from, the x of Q = x W^Q, after the layer's first normalisation.

Shapes: W_down (d, r), W_up (r, q + v + f), b_up (q + v + f,), 7 + 5 coefficients of R for each layer.
Initialisation (section 4.3): W_down ~ N(0, 0.02^2), W_up = 0, b_up = 1, R fitted to GELU: starts at the
backbone.
Training (eq. 8): W_down, W_up, b_up (`weights`) on training batches, the coefficients of R
(`architecture`) on validation batches, alternating, first order.

Variants of Table 4 (`conf/method/pedro_1.yaml` … `pedro_7.yaml`): mean and max pooling; vectors for
Q, K, V, G, U; for Q, V only; ReLU; GELU; ReLU in the lower half of the layers and GELU in the upper.

Deviations: no public code exists. The paper gives no interval of the fit to GELU, no learning rate of its
own for R's coefficients and no dtype; ours are [-4, 4] and the method's rate, and the generator is float32
whatever the backbone is, with the product cast back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape, Site
from pedro_bench.protocols.context import current_context
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Parameter

ACTIVATIONS = ("rational", "relu", "gelu", "relu_then_gelu")
"""`relu_then_gelu`: ReLU in the first half of the layers, GELU in the rest."""
POOLERS = ("last", "mean", "max")
READS = ("residual", "normalised")
ROLES = tuple(role for role in LINEAR_ROLES if role not in ("attn_out", "ffn_down"))
"""Roles PEDRO can scale."""

_RATIONAL_COEFFICIENTS = 7 + 5


@dataclass(frozen=True, kw_only=True)
class Pedro(Method):
    """PEDRO's settings.

    Attributes:
        r: Bottleneck of the generators, at least 1.
        roles: What the vectors scale, out of ROLES; the order is the order of the split.
        pooling: One of POOLERS.
        activation: One of ACTIVATIONS.
        reads: What h is, one of READS.
    """

    r: int
    roles: tuple[str, ...]
    pooling: str
    activation: str
    reads: str = checks.later("residual", neutral="residual")

    is_bilevel: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r)
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, ROLES))
        checks.choice("method.pooling", self.pooling, POOLERS)
        checks.choice("method.activation", self.activation, ACTIVATIONS)
        checks.choice("method.reads", self.reads, READS)
        if self.bilevel != "none" and self.activation != "rational":
            raise ConfigError(
                f"method.bilevel must be none with method.activation={self.activation}, got "
                f"{self.bilevel!r}: only the rational activation has coefficients to train."
            )

    def _activation_of(self, layer: int, num_layers: int) -> str:
        if self.activation == "relu_then_gelu":
            return "relu" if layer < num_layers // 2 else "gelu"
        return self.activation

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Matrices: L (d r + r w) with w the sum of widths; with L (w + 12) more for b_up and R."""
        width = sum(width.outputs for _, _, width in shape.each(self.roles))
        matrices = self.r * (shape.num_layers * shape.hidden_size + width)
        coefficients = _RATIONAL_COEFFICIENTS if self.activation == "rational" else 0
        return ParameterCount(
            matrices=matrices, trainable=matrices + width + coefficients * shape.num_layers
        )

    def attach(self, injection: Injection) -> None:
        """Put a generator before every layer and scale the outputs of the adapted projections.

        Raises:
            InjectionError: If normalised inputs are to be read where layers have none of the prompt.
        """
        from pedro_bench.nn.vector_generator import VectorGenerator

        if self.reads == "normalised" and injection.kind != "decoder":
            raise InjectionError(
                "method.reads must be residual unless the layers of a decoder read the prompt, got "
                f"'normalised' with an {injection.kind.replace('_', '-')}."
            )
        by_layer: dict[int | None, list[Site]] = {}
        for site in injection.sites(self.roles):
            by_layer.setdefault(site.layer, []).append(site)
        reader = "block" if self.reads == "residual" else "attention"
        for site in injection.sites((reader,)):
            sites = by_layer[site.layer]
            generator = injection.add(
                f"layers.{site.layer}.generator",
                VectorGenerator(
                    injection.shape.hidden_size,
                    self.r,
                    [one.outputs for one in sites],
                    activation=self._activation_of(site.layer or 0, injection.shape.num_layers),
                    pooling=self.pooling,
                ),
            )
            _wire(injection, site, sites, generator)

    def parameter_groups(self, adapter: "nn.Module") -> "Mapping[str, list[Parameter]]":
        """Omega (generators' matrices and biases) as `weights`, Theta (R's coefficients) apart."""
        if self.bilevel == "none":
            return super().parameter_groups(adapter)
        groups: dict[str, list[Parameter]] = {"weights": [], "architecture": []}
        for name, parameter in adapter.named_parameters():
            groups["architecture" if ".activation." in name else "weights"].append(parameter)
        return groups


def _wire(injection: Injection, reader: Site, sites: list[Site], generator: "nn.Module") -> None:
    """Let `generator` read the input of `reader` and its vectors scale the outputs of the layer's sites."""
    from pedro_bench.nn.blocks import scale

    key = f"pedro/{reader.layer}"

    def make_vectors(hidden_BTD: "Tensor") -> None:
        context = current_context()
        vectors = generator(hidden_BTD, context)
        context.state[key] = tuple(vector_BO.unsqueeze(1) for vector_BO in vectors)

    injection.on_prompt(reader, make_vectors)
    for position, site in enumerate(sites):

        def modify(_: "Tensor", output_BTO: "Tensor", position: int = position) -> "Tensor":
            return scale(output_BTO, current_context().state[key][position])

        injection.on_output(site, modify)
