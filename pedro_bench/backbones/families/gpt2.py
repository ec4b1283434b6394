"""GPT-2: query, key and value in one module, weights kept as (in, out), learned positions, no gate.

The feed-forward network is one of two maps: `ffn_up` is `c_fc`, `ffn_down` is `c_proj`. In training its
dropout acts as the configuration sets it (0.1 as released).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones.family import SAMPLE, Family, Projection, fused

if TYPE_CHECKING:
    from torch import nn


class GPT2Family(Family):
    """GPT-2."""

    name: ClassVar[str] = "GPT2"
    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "GPT-2": {
            "model_type": "gpt2",
            "vocab_size": SAMPLE["vocab_size"],
            "n_positions": 256,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "initializer_range": 0.2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
    }
    embedding: ClassVar[str] = "wte"
    layers: ClassVar[str] = "h"
    last_norm: ClassVar[str] = "ln_f"
    position_module: ClassVar[str] = "wpe"

    def projections(self, block: Any, config: Any) -> Mapping[str, Projection]:
        """Return the six projections; query, key and value are thirds of `c_attn`."""
        width = config.hidden_size
        thirds = {"query": (0, width), "key": (width, width), "value": (2 * width, width)}
        return {
            **fused(block.attn.c_attn, thirds),
            "attn_out": Projection(block.attn.c_proj),
            "ffn_up": Projection(block.mlp.c_fc),
            "ffn_down": Projection(block.mlp.c_proj),
        }

    def norms(self, block: Any) -> "list[nn.Module]":
        """Return the normalisations before attention and before the feed-forward network."""
        return [block.ln_1, block.ln_2]

    def positions(self, config: Any) -> str:
        """Return `learned`."""
        return "learned"
