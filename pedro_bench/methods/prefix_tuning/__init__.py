"""Prefix tuning and P-tuning v2: trainable keys and values of virtual tokens in every layer.

    Attention(Q, [P_K; K], [P_V; V])      P_K, P_V (num_virtual_tokens, width), one pair a layer

Li and Liang 2021, arXiv:2101.00190 (`prefix_tuning`: P is made by a two-layer network with tanh from
a small matrix); Liu et al. 2021, arXiv:2110.07602 (`ptuning_v2`: P itself is trained). The prefix is
not rotated; prompt and answer take the positions after it, as in peft. Every position sees it.

Initialisation: plain prefix N(0, 0.02^2); with the network, E from N(0, 1) and linear maps as
PyTorch makes them. The adapted model does not start at the backbone: a prefix takes attention.

Deviations: the prefix is kept out of the key/value cache, which changes no number.
With sliding windows it stays visible to every token. The network is kept after training. Dropout is 0
here; the authors of P-tuning v2 take the backbone's hidden dropout, which Llama does not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.context import current_context
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "prefix"
"""Name of the prefix in a context's state: keys and values of all layers, in layer order."""


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(Method):
    """Settings of prefix tuning.

    Attributes:
        num_virtual_tokens: Tokens of the prefix, at least 1.
        encoder_hidden_size: Inner width of the network that makes the prefix, at least 1, or None to
            train the prefix itself.
        dropout: Dropout on the prefix, in [0, 1).
    """

    num_virtual_tokens: int
    encoder_hidden_size: int | None
    dropout: float

    starts_at_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.num_virtual_tokens", self.num_virtual_tokens)
        checks.integer("method.encoder_hidden_size", self.encoder_hidden_size, optional=True)
        checks.number("method.dropout", self.dropout, least=0, below=1)

    @property
    def num_positions(self) -> int:
        """Prompt and answer stand at the positions after the prefix."""
        return self.num_virtual_tokens

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Plain: P w with w the sum of all layers' K and V widths. Network: P e + e m + m w (+ m + w)."""
        widths = [width.outputs for _, _, width in shape.each(("key", "value"))]
        if self.encoder_hidden_size is None:
            entries = self.num_virtual_tokens * sum(widths)
            return ParameterCount(matrices=entries, trainable=entries)
        inner = self.encoder_hidden_size
        matrices = (self.num_virtual_tokens + inner) * widths[0] + inner * sum(widths)
        return ParameterCount(matrices=matrices, trainable=matrices + inner + sum(widths))

    def attach(self, injection: Injection) -> None:
        """Put the prefix before every layer's keys and values, and move the other positions on."""
        from pedro_bench.methods.prefix_tuning.layers import KeyValuePrefix
        from pedro_bench.nn.cached_prefix import check_attention

        attentions = injection.sites(("attention",))
        check_attention(attentions, self.name)
        prefix = injection.add(
            "prefix",
            KeyValuePrefix(
                self.num_virtual_tokens,
                [site.outputs for site in injection.sites(("key", "value"))],
                encoder_hidden_size=self.encoder_hidden_size,
                dropout=self.dropout,
            ),
        )

        def make_prefix(hidden_BTD: "Tensor") -> None:
            context = current_context()
            if context.stage == "prompt":
                context.state[_KEY] = prefix(hidden_BTD.shape[0], hidden_BTD.dtype)

        injection.on_input(injection.sites(("block",))[0], make_prefix)
        injection.on_positions(lambda positions: positions + self.num_virtual_tokens)
        for order, site in enumerate(attentions):
            _wire(injection, site, order, self.num_virtual_tokens)


def _wire(injection: Injection, site: Site, order: int, num_virtual_tokens: int) -> None:
    """Let an attention module see its part of the prefix."""
    from pedro_bench.nn.cached_prefix import GivenPrefix, is_causal, seen_by_all
    from pedro_bench.protocols.cache import argument_of

    cache, causal = argument_of(site.module.forward), is_causal(site)

    def give_prefix(arguments: Mapping[str, Any]) -> dict[str, Any]:
        keys_BPO, values_BPO = current_context().state[_KEY][2 * order : 2 * order + 2]
        return {
            cache: GivenPrefix(arguments.get(cache), (keys_BPO, values_BPO)),
            "attention_mask": seen_by_all(
                arguments["attention_mask"],
                arguments["hidden_states"],
                num_virtual_tokens,
                causal=causal,
            ),
        }

    injection.on_arguments(site, give_prefix)
