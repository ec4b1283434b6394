"""Prompt tuning and infix tuning: trainable embeddings of virtual tokens, and nothing else.

    before_prompt    [P; x; y]    Lester et al. 2021, arXiv:2104.08691 (`prompt_tuning`)
    after_prompt     [x; P; y]    after Li and Liang 2021, arXiv:2101.00190, section 7 (`infix_tuning`)

P (num_virtual_tokens, d) stands among the embeddings of prompt x and answer y; the layers compute
everything above it. Prompt and answer take the positions that are left. After the prompt, the last
virtual token predicts the first token of the answer.

Initialisation: embeddings of tokens drawn from the whole vocabulary with replacement, as peft's SAMPLE_VOCAB;
Lester et al. draw from the 5,000 most common. The adapted model does not start at the backbone.

Deviations: Li and Liang's infix are trained activations of every layer; here, as the lecture draws
it, the infix are tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor

    from pedro_bench.protocols.context import PromptContext

PLACES = ("before_prompt", "after_prompt")


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Method):
    """Settings of prompt tuning.

    Attributes:
        num_virtual_tokens: Virtual tokens, at least 1.
        place: One of PLACES.
    """

    num_virtual_tokens: int
    place: str

    starts_at_backbone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.num_virtual_tokens", self.num_virtual_tokens)
        checks.choice("method.place", self.place, PLACES)

    @property
    def num_positions(self) -> int:
        """The virtual tokens are part of the sequence."""
        return self.num_virtual_tokens

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Count P d."""
        entries = self.num_virtual_tokens * shape.hidden_size
        return ParameterCount(matrices=entries, trainable=entries)

    def attach(self, injection: Injection) -> None:
        """Let the virtual tokens pass through all layers."""
        from pedro_bench.methods.prompt_tuning.layers import PromptEmbedding
        from pedro_bench.nn.virtual_tokens import VirtualTokens

        embedding = injection.sites(("embedding",))[0].module
        prompt = injection.add(
            "prompt",
            PromptEmbedding(self.num_virtual_tokens, embedding, injection.shape.vocab_size),
        )

        def make(hidden_BTD: "Tensor", _: "PromptContext") -> "Tensor":
            tokens: Tensor = prompt(hidden_BTD.shape[0])
            return tokens

        VirtualTokens(
            self.num_virtual_tokens,
            first_layer=0,
            after_prompt=self.place == "after_prompt",
            make=make,
        ).wire(injection, self.name)
