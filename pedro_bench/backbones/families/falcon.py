"""Falcon: fused query, key and value in three layouts, attention and feed-forward in parallel, no gate.

- `new_decoder_architecture` (40B, 180B): for each key/value head its queries, then its key, then its value.
- `multi_query` (7B): all queries, then the one key, then the one value.
- neither (RW 1B): query, key and value of each head side by side.

RW 1B has no rotary embeddings but ALiBi, a bias of the attention scores.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones.family import SAMPLE, Family, Projection, fused

if TYPE_CHECKING:
    from torch import nn

_SAMPLE = {
    **{name: size for name, size in SAMPLE.items() if name != "intermediate_size"},
    "model_type": "falcon",
    "ffn_hidden_size": 48,
}


class FalconFamily(Family):
    """Falcon, with one key/value head, several or as many as queries."""

    name: ClassVar[str] = "Falcon"
    model_types: ClassVar[tuple[str, ...]] = ("falcon",)
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "Falcon 7B": {**_SAMPLE, "multi_query": True},
        "Falcon 40B": {**_SAMPLE, "new_decoder_architecture": True, "num_kv_heads": 2},
        "Falcon RW": {**_SAMPLE, "multi_query": False, "parallel_attn": False, "alibi": True},
    }
    embedding: ClassVar[str] = "word_embeddings"
    layers: ClassVar[str] = "h"
    last_norm: ClassVar[str] = "ln_f"

    def projections(self, block: Any, config: Any) -> Mapping[str, Projection]:
        """Return the six projections; query, key and value lie in `query_key_value`."""
        heads = config.num_attention_heads
        width = config.hidden_size // heads
        if config.new_decoder_architecture:
            groups = config.num_kv_heads
        else:
            groups = 1 if config.multi_query else heads
        queries = heads // groups * width
        parts = {"query": (0, queries), "key": (queries, width), "value": (queries + width, width)}
        return {
            **fused(block.self_attention.query_key_value, parts, groups),
            "attn_out": Projection(block.self_attention.dense),
            "ffn_up": Projection(block.mlp.dense_h_to_4h),
            "ffn_down": Projection(block.mlp.dense_4h_to_h),
        }

    def norms(self, block: "nn.Module") -> "list[nn.Module]":
        """Return the one or two normalisations that a layer has."""
        names = ("input_layernorm", "ln_attn", "ln_mlp", "post_attention_layernorm")
        return [getattr(block, name) for name in names if hasattr(block, name)]

    def positions(self, config: Any) -> str:
        """Return `bias` for ALiBi, else `rotary`."""
        return "bias" if config.alibi else "rotary"
