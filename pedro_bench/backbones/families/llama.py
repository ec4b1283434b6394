"""The Llama family: every decoder whose modules carry Llama's names (Mistral, Gemma, Qwen, OLMo 2, Phi-3 …).

What belongs to it is seen by looking at the model, not at a list of architectures: a model that has
`layers`, `embed_tokens`, `norm` and in every layer the projections `q_proj k_proj v_proj o_proj gate_proj
up_proj down_proj` works, whatever it is called. Phi-3 fuses query, key and value (`qkv_proj`), and gate and
up (`gate_up_proj`).

Sliding windows, biases of the projections, normalisations of queries and keys and further ones in a layer
are the model's own affair: none changes what a role is.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones import shapes
from pedro_bench.backbones.family import SAMPLE, Family, MissingModulesError, Projection, fused
from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape

if TYPE_CHECKING:
    from torch import Tensor, nn

MODULE_NAMES = dict(
    zip(
        LINEAR_ROLES,
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        strict=True,
    )
)
"""Role -> last part of the module's path within a layer."""


class LlamaFamily(Family):
    """Decoders with Llama's module names."""

    name: ClassVar[str] = "Llama"
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "Llama": {**SAMPLE, "model_type": "llama", "num_key_value_heads": 2},
        "Phi-3": {**SAMPLE, "model_type": "phi3", "num_key_value_heads": 2},
    }

    def projections(self, block: "nn.Module", config: Any) -> Mapping[str, Projection]:
        """Return the seven projections, those of fused modules as columns."""
        found = {
            role: Projection(module)
            for role, name in MODULE_NAMES.items()
            if (module := _only(block, name)) is not None
        }
        found |= _fused(block, config)
        missing = [name for role, name in MODULE_NAMES.items() if role not in found]
        if missing:
            raise MissingModulesError(missing)
        return {role: found[role] for role in LINEAR_ROLES}

    def norms(self, block: "nn.Module") -> "list[nn.Module]":
        """Return the layer's own modules whose names end in `norm`."""
        return [module for name, module in block.named_children() if name.endswith("norm")]

    def read_shape(self, mapping: Mapping[str, Any], source: str) -> BackboneShape | None:
        """Read the sizes where `shapes.CONVENTIONS` knows what the mapping leaves unsaid."""
        return shapes.read_shape(mapping, source) if shapes.is_readable(mapping) else None

    def check(self, config: Any, attn_implementation: str, source: str) -> None:
        """Refuse PyTorch's fused attention for a model that caps its attention scores.

        Some versions of Transformers run Gemma 2 with it and silently leave the capping out.
        """
        cap = getattr(config, "attn_logit_softcapping", None)
        if cap is not None and attn_implementation == "sdpa":
            raise BackboneError(
                f"backbone.attn_implementation must be one that {source} supports, got 'sdpa', which "
                f"cannot cap attention scores at {cap:g}: set backbone.attn_implementation=eager."
            )

    def logits(self, logits_NV: "Tensor", config: Any) -> "Tensor":
        """Apply a factor (Cohere), a divisor (Granite), soft-capping (Gemma 2 and 3)."""
        scale = getattr(config, "logit_scale", None)
        if scale is not None:
            logits_NV = logits_NV * scale
        divisor = getattr(config, "logits_scaling", None)
        if divisor is not None:
            logits_NV = logits_NV / divisor
        cap = getattr(config, "final_logit_softcapping", None)
        if cap is not None:
            logits_NV = (logits_NV / cap).tanh() * cap
        return logits_NV


def _only(block: "nn.Module", name: str) -> "nn.Linear | None":
    """Return the one linear module of a layer whose path ends in a name, or None."""
    from torch import nn

    matches = [
        module
        for path, module in block.named_modules()
        if path.rpartition(".")[2] == name and isinstance(module, nn.Linear)
    ]
    return matches[0] if len(matches) == 1 else None


def _fused(block: "nn.Module", config: Any) -> dict[str, Projection]:
    """Return the roles of Phi-3's fused modules, where a layer has them."""
    found: dict[str, Projection] = {}
    attention = _only(block, "qkv_proj")
    if attention is not None:
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        width = attention.out_features // (heads + 2 * keys)
        queries, keys = heads * width, keys * width
        parts = {"query": (0, queries), "key": (queries, keys), "value": (queries + keys, keys)}
        found |= fused(attention, parts)
    inner = _only(block, "gate_up_proj")
    if inner is not None:
        half = inner.out_features // 2
        found |= fused(inner, {"ffn_gate": (0, half), "ffn_up": (half, half)})
    return found
