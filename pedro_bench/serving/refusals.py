"""Refusals: backbones that steps over tensors of fixed size, or mixed batches, would be wrong on."""

from collections.abc import Iterator, Mapping
from typing import Any

from pedro_bench.errors import BackboneError, ConfigError
from pedro_bench.protocols.backbone import LoadedBackbone

_ATTENTIONS = ("sdpa", "eager")
"""Implementations that take the mask of a cache of fixed length, numbers to add to the scores."""


def check_steps(backbone: LoadedBackbone, decoding: str) -> None:
    """Require a backbone on which a step is the same whatever stands in the batch.

    Raises:
        ConfigError: If its attention takes no mask of scores, or its rotary embeddings depend on the
            longest sequence.
    """
    if backbone.kind != "decoder":
        raise ConfigError(
            f"decoding must be plain with backbone {backbone.name!r}, which is no decoder alone, got "
            f"{decoding!r}."
        )
    attention = _config(backbone)._attn_implementation
    if attention not in _ATTENTIONS:
        raise ConfigError(
            f"backbone.attn_implementation must be sdpa or eager with decoding={decoding!r}, whose "
            f"steps mask a cache of fixed length, got {attention!r}: set one of them, or decode plain."
        )
    for kind in _moving_rope(backbone):
        raise ConfigError(
            f"decoding must be plain where the longest sequence of a batch decides the rotary "
            f"embeddings of all, as rope_type {kind!r} of backbone {backbone.name!r} has it, got "
            f"{decoding!r}."
        )


def check_window(backbone: LoadedBackbone, decoding: str, num_slots: int) -> None:
    """Refuse caches longer than a sliding window, beyond which layers forget tokens.

    Raises:
        ConfigError: If the window is shorter.
    """
    window = getattr(_config(backbone), "sliding_window", None)
    if window is not None and num_slots > window:
        raise ConfigError(
            f"decoding must be plain where prompt and answer exceed the sliding window of {window} "
            f"tokens of backbone {backbone.name!r}, got {decoding!r} with {num_slots} slots."
        )


def check_mixing(backbone: LoadedBackbone) -> None:
    """Require a decoder on which a sequence is the same whatever stands beside it.

    Raises:
        BackboneError: If it is no decoder, or the longest sequence of a batch decides its embeddings.
    """
    if backbone.kind != "decoder":
        raise BackboneError(
            f"backbone {backbone.name!r} must be a decoder to serve many tenants, got an "
            f"{backbone.kind.replace('_', '-')}: load each run by itself."
        )
    for kind in _moving_rope(backbone):
        raise BackboneError(
            f"backbone {backbone.name!r} must give a sequence the same rotary embeddings in every "
            f"batch to serve many tenants, got rope_type {kind!r}, where the longest one decides "
            "them for all: load each run by itself and generate with batch_size=1."
        )


def _config(backbone: LoadedBackbone) -> Any:
    return backbone.model.config.get_text_config(decoder=True)


def _moving_rope(backbone: LoadedBackbone) -> Iterator[str]:
    """Yield the kinds of rotary embeddings that Transformers makes anew from a batch's last position."""
    for module in backbone.decoder.modules():
        given = getattr(module, "rope_type", None)
        for kind in given.values() if isinstance(given, Mapping) else (given,):
            if kind is not None and ("dynamic" in kind or kind == "longrope"):
                yield kind
