"""GPT-NeoX (Pythia): query, key and value of each head side by side, parallel residual, no gate.

`query_key_value` holds, for one head after the other, its query, key and value, so that a role is a third
of every head's columns. With `use_parallel_residual` attention and feed-forward network read the same
residual stream, and both are added to it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones.family import SAMPLE, Family, Projection, fused

if TYPE_CHECKING:
    from torch import nn


class GPTNeoXFamily(Family):
    """GPT-NeoX and Pythia."""

    name: ClassVar[str] = "GPTNeoX"
    model_types: ClassVar[tuple[str, ...]] = ("gpt_neox",)
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "GPT-NeoX": {**SAMPLE, "model_type": "gpt_neox"}
    }
    embedding: ClassVar[str] = "embed_in"
    last_norm: ClassVar[str] = "final_layer_norm"

    def projections(self, block: Any, config: Any) -> Mapping[str, Projection]:
        """Return the six projections; query, key and value are thirds of each head."""
        heads = config.num_attention_heads
        width = config.hidden_size // heads
        thirds = {"query": (0, width), "key": (width, width), "value": (2 * width, width)}
        return {
            **fused(block.attention.query_key_value, thirds, heads),
            "attn_out": Projection(block.attention.dense),
            "ffn_up": Projection(block.mlp.dense_h_to_4h),
            "ffn_down": Projection(block.mlp.dense_4h_to_h),
        }

    def norms(self, block: Any) -> "list[nn.Module]":
        """Return the normalisations before attention and before the feed-forward network."""
        return [block.input_layernorm, block.post_attention_layernorm]
