"""LPT, late prompt tuning: a prompt made from the prompt, put in halfway up the backbone.

    P = ReLU(AdaptivePool(H_k W_1 + b_1)) W_2 + b_2        H_k (n, d): the prompt after layer k
    layers k + 1 … L read [P; H_k]                         Liu et al. 2022, arXiv:2210.11292

W_1 (d, bottleneck_size), W_2 (bottleneck_size, d), P (num_virtual_tokens, d). Layers up to k see the
text alone, those above also P, which stands before it: with the key/value cache, P's keys and values
are kept with the generation they were made for. Above layer k, P takes the first positions and the text
those after it. Made once for each prompt; beams share it.

Initialisation: linear maps as PyTorch makes them, as in the authors' code. The adapted model does not
start at the backbone.

Deviations: the authors' GPT-2 has position embeddings at the input, so their late prompt has none;
rotary embeddings are applied in every layer, so ours has the positions of a prefix. Their dropout
behind W_2 is the backbone's own (GPT-2's embedding dropout), which Llama does not have.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import InjectionError
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor

    from pedro_bench.protocols.context import PromptContext

POOLERS = ("max", "mean")


@dataclass(frozen=True, kw_only=True)
class LatePromptTuning(Method):
    """LPT's settings.

    Attributes:
        num_virtual_tokens: Tokens of the late prompt, at least 1.
        bottleneck_size: Inner width of the generator, at least 1.
        layer: k, the layers below the late prompt, at least 1 and below L; None for L // 2.
        pooling: One of POOLERS.
    """

    num_virtual_tokens: int
    bottleneck_size: int
    layer: int | None
    pooling: str

    starts_at_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.num_virtual_tokens", self.num_virtual_tokens)
        checks.integer("method.bottleneck_size", self.bottleneck_size)
        checks.integer("method.layer", self.layer, optional=True)
        checks.choice("method.pooling", self.pooling, POOLERS)

    @property
    def num_positions(self) -> int:
        """In the upper layers the late prompt is part of the sequence."""
        return self.num_virtual_tokens

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Matrices: 2 d m; with m + d more for the biases."""
        matrices = 2 * shape.hidden_size * self.bottleneck_size
        return ParameterCount(
            matrices=matrices, trainable=matrices + self.bottleneck_size + shape.hidden_size
        )

    def attach(self, injection: Injection) -> None:
        """Let the generator read the prompt after layer k, and its tokens pass from there on."""
        from pedro_bench.methods.lpt.layers import LatePromptGenerator
        from pedro_bench.nn.virtual_tokens import VirtualTokens

        num_layers = injection.shape.num_layers
        layer = num_layers // 2 if self.layer is None else self.layer
        if not 1 <= layer < num_layers:
            raise InjectionError(
                f"method.layer must be at least 1 and below the backbone's {num_layers} layers, got "
                f"{layer}."
            )
        generator = injection.add(
            "generator",
            LatePromptGenerator(
                injection.shape.hidden_size,
                self.bottleneck_size,
                self.num_virtual_tokens,
                pooling=self.pooling,
            ),
        )

        def make(hidden_BTD: "Tensor", context: "PromptContext") -> "Tensor":
            tokens: Tensor = generator(hidden_BTD, context.prompt_mask_BT)
            return tokens

        VirtualTokens(
            self.num_virtual_tokens, first_layer=layer, after_prompt=False, make=make
        ).wire(injection, self.name)
