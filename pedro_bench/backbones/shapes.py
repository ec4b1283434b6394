"""Sizes of a Llama-family model from its configuration mapping alone: no weights, no torch.

The families named in `CONVENTIONS` differ in what a configuration file leaves unsaid (which
projections have a bias, how many normalisations a layer has, whether the embedding is tied); this
table says it. It is only the fast way: a family that is not in it is built without memory on
PyTorch's meta device and measured (`loading.measure_config`), and every loaded model is compared
with what was read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import BackboneShape, Width


@dataclass(frozen=True)
class Convention:
    """What the configuration files of one family leave unsaid.

    Attributes:
        qkv_bias: Whether query, key and value have a bias; None: `attention_bias` says so, for
            attn_out as well.
        mlp_bias: Whether `mlp_bias` is read; the other families never have one.
        norms: Normalisations of the residual stream in each layer.
        head_norms: Whether queries and keys are normalised per head.
        tied: Whether the embedding is tied to the head where `tie_word_embeddings` is absent.
        can_derive_heads: Whether absent head sizes follow from the hidden size and the head count.
        max_positions: `max_position_embeddings` where it is absent.
    """

    max_positions: int

    qkv_bias: bool | None = None
    mlp_bias: bool = False
    norms: int = 2
    head_norms: bool = False
    tied: bool = False
    can_derive_heads: bool = False


CONVENTIONS: Mapping[str, Convention] = {
    "llama": Convention(max_positions=2048, mlp_bias=True, can_derive_heads=True),
    "mistral": Convention(max_positions=131_072, qkv_bias=False, can_derive_heads=True),
    "gemma": Convention(max_positions=8192, tied=True),
    "gemma2": Convention(max_positions=8192, norms=4, tied=True),
    "gemma3_text": Convention(max_positions=131_072, norms=4, head_norms=True, tied=True),
    "qwen2": Convention(max_positions=32_768, qkv_bias=True, can_derive_heads=True),
    "qwen3": Convention(max_positions=32_768, head_norms=True),
}

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
)


def is_readable(mapping: Mapping[str, Any]) -> bool:
    """Return whether `read_shape` can read the mapping exactly; else the model is measured."""
    convention = CONVENTIONS.get(mapping.get("model_type", ""))
    if convention is None or any(mapping.get(size) is None for size in _SIZES):
        return False
    heads_are_given = (
        mapping.get("head_dim") is not None and mapping.get("num_key_value_heads") is not None
    )
    return heads_are_given or _derives_heads(mapping, convention)


def _derives_heads(mapping: Mapping[str, Any], convention: Convention) -> bool:
    has_groups = mapping.get("num_key_value_heads") is not None
    return convention.can_derive_heads and (has_groups or mapping["model_type"] == "llama")


def read_shape(mapping: Mapping[str, Any], source: str) -> BackboneShape:
    """Compute all sizes from a configuration mapping.

    Args:
        mapping: The content of a `config.json`, or the `architecture` of a YAML.
        source: Where it comes from, for messages.

    Raises:
        BackboneError: If a size is not a positive whole number.
    """
    family = str(mapping["model_type"])
    convention = CONVENTIONS[family]
    for name in (*_SIZES, "num_key_value_heads", "head_dim", "max_position_embeddings"):
        _require_size(mapping, name, source, optional=name not in _SIZES)
    hidden, ffn = int(mapping["hidden_size"]), int(mapping["intermediate_size"])
    layers, vocabulary = int(mapping["num_hidden_layers"]), int(mapping["vocab_size"])
    widths, head_dim = _layer_widths(mapping, convention)
    per_layer = sum(w.inputs * w.outputs + w.outputs * w.bias for w in widths.values())
    per_layer += convention.norms * hidden + (2 * head_dim if convention.head_norms else 0)
    tied = mapping.get("tie_word_embeddings")
    is_tied = convention.tied if tied is None else bool(tied)
    embeddings = vocabulary * hidden * (1 if is_tied else 2)
    return BackboneShape(
        family=family,
        num_layers=layers,
        hidden_size=hidden,
        ffn_dim=ffn,
        vocab_size=vocabulary,
        num_parameters=embeddings + layers * per_layer + hidden,
        num_norms=layers * convention.norms + 1,
        widths=tuple(widths for _ in range(layers)),
        layer_parameters=(per_layer,) * layers,
        max_positions=position_limit(
            mapping.get("max_position_embeddings") or convention.max_positions,
            mapping.get("rope_scaling") or mapping.get("rope_parameters"),
        ),
    )


def position_limit(positions: int | None, rope: Any) -> int | None:
    """Return the longest sequence a model was made for.

    Linear and dynamic scaling of rotary embeddings lengthen `max_position_embeddings` by their
    factor; the other kinds name the longer number there already.

    Args:
        positions: `max_position_embeddings`, or None if the configuration has none.
        rope: `rope_scaling` or `rope_parameters`, or None.
    """
    if positions is None or not isinstance(rope, Mapping):
        return positions
    kind = rope.get("rope_type") or rope.get("type")
    is_longer = kind in ("linear", "dynamic") and "original_max_position_embeddings" not in rope
    return int(positions * float(rope.get("factor") or 1)) if is_longer else positions


def _layer_widths(
    mapping: Mapping[str, Any], convention: Convention
) -> tuple[dict[str, Width], int]:
    """Return the seven projections of one layer, and the width of a head."""
    hidden, ffn = int(mapping["hidden_size"]), int(mapping["intermediate_size"])
    heads = int(mapping["num_attention_heads"])
    head_dim = int(mapping.get("head_dim") or hidden // heads)
    queries, keys = heads * head_dim, int(mapping.get("num_key_value_heads") or heads) * head_dim
    says_bias = bool(mapping.get("attention_bias", False))
    bias = says_bias if convention.qkv_bias is None else convention.qkv_bias
    out_bias = says_bias if convention.qkv_bias is None else False
    mlp_bias = convention.mlp_bias and bool(mapping.get("mlp_bias", False))
    widths = {
        "query": Width(hidden, queries, bias),
        "key": Width(hidden, keys, bias),
        "value": Width(hidden, keys, bias),
        "attn_out": Width(queries, hidden, out_bias),
        "ffn_gate": Width(hidden, ffn, mlp_bias),
        "ffn_up": Width(hidden, ffn, mlp_bias),
        "ffn_down": Width(ffn, hidden, mlp_bias),
    }
    return widths, head_dim


def _require_size(mapping: Mapping[str, Any], name: str, source: str, *, optional: bool) -> None:
    value = mapping.get(name)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BackboneError(
            f"{name} of {source} must be a whole number of at least 1, got {value!r}."
        )
