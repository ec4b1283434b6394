"""Validation: which adapters a bank takes, and which backbones static steps and mixed batches suit."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pedro_bench.errors import NOT_NUMBERS, BackboneError, ConfigError, InjectionError
from pedro_bench.nn.adapted_model import HEAD, RETRAIN
from pedro_bench.nn.task_head import TaskHead
from pedro_bench.nn.tenant_blocks import TenantBlock, Tensors
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Method
from pedro_bench.serving.attaching import Held
from pedro_bench.serving.registry import TenantAdapter, acting_settings


def refuse_unknown(
    tenant: str,
    adapter: TenantAdapter,
    backbone: LoadedBackbone,
    method: Method,
    blocks: Mapping[str, TenantBlock],
) -> None:
    """Refuse an adapter that was not trained by a bank's method on its backbone.

    Args:
        tenant: Its name, for the message.
        adapter: What was trained.
        backbone: The bank's.
        method: The bank's.
        blocks: Path -> the bank's block there, which knows its tensors' shapes.

    Raises:
        ConfigError: If another method was trained.
        BackboneError: If it was trained on another backbone.
        InjectionError: If its tensors are not those of the method on this backbone.
    """
    if backbone.revision not in (adapter.backbone_revision, adapter.backbone_content):
        raise BackboneError(
            f"tenant {tenant!r} must have been trained on the bank's backbone "
            f"{backbone.name!r} ({backbone.revision}), got an adapter of "
            f"{adapter.backbone_revision}."
        )
    own, given = (acting_settings(one, blocks.values()) for one in (method, adapter.method))
    for name in (*own, *given):
        if own.get(name) != given.get(name):
            difference = f"{name}={given.get(name)!r} where the bank has {own.get(name)!r}"
            remedy = "open another bank for it"
            if name == "structure":  # a list of up to a thousand names, found by a search
                difference = "another structure than the bank's"
                remedy += ", or train tenants with the same method.structure"
            raise ConfigError(
                f"tenant {tenant!r} must have trained the bank's method {method.name!r}, got "
                f"{adapter.method.name!r} with {difference}: {remedy}."
            )
    expected = {
        f"{path}.{name}": shape
        for path, block in blocks.items()
        for name, shape in block.expected.items()
    }
    if adapter.head is not None:
        expected |= {f"{HEAD}.{name}": shape for name, shape in head_shapes(adapter.head, backbone)}
    elif backbone.kind == "encoder":
        raise InjectionError(
            f"tenant {tenant!r} must bring a trained head to the encoder {backbone.name!r}, got an "
            "adapter without one."
        )
    found = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    wrong = sorted(name for name, _ in expected.items() ^ found.items())
    if wrong:
        raise InjectionError(
            f"tenant {tenant!r} must bring the tensors of method {method.name!r} on backbone "
            f"{backbone.name!r}, got a difference in {wrong[0]!r} ({len(wrong)} in all): if the method's "
            f"code changed since, {RETRAIN}."
        )


def held_of(
    tenant: str, adapter: TenantAdapter, blocks: Mapping[str, TenantBlock], device: torch.device
) -> Held:
    """Return what a bank keeps of an adapter: copies on its device, in the dtype the method computes in.

    So an adapter that was saved in another dtype acts as it does alone, where its tensors are read into
    the method's own.

    Raises:
        InjectionError: If a number is infinite or none in that dtype: it would fail a whole mixed batch.
    """
    held: dict[str, Tensors] = {}
    for path, block in blocks.items():
        own = {
            name: adapter.tensors[f"{path}.{name}"].detach().to(dtype)
            for name, dtype in block.dtypes.items()
        }
        _refuse_no_numbers(tenant, {f"{path}.{name}": one for name, one in own.items()})
        held[path] = {
            name: tensor.to(device, copy=True) for name, tensor in block.prepare(own).items()
        }
    return held


def _refuse_no_numbers(tenant: str, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InjectionError(
                f"tenant {tenant!r} must bring finite numbers, got NaN or infinite ones in {name!r}: "
                f"{NOT_NUMBERS}."
            )


def head_of(
    tenant: str, adapter: TenantAdapter, backbone: LoadedBackbone, device: torch.device
) -> TaskHead | None:
    """Return what a bank keeps of a tenant's head: a copy on its device; None where it has none.

    Raises:
        InjectionError: As `held_of`.
    """
    if adapter.head is None:
        return None
    own = _empty_head(adapter.head, backbone)
    tensors = {
        name: adapter.tensors[f"{HEAD}.{name}"].detach().to(device, one.dtype, copy=True)
        for name, one in own.state_dict().items()
    }
    _refuse_no_numbers(tenant, {f"{HEAD}.{name}": one for name, one in tensors.items()})
    own.load_state_dict(tensors, assign=True)
    return own.requires_grad_(False).eval()


def head_shapes(head: Head, backbone: LoadedBackbone) -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes of a head's tensors."""
    state = _empty_head(head, backbone).state_dict()
    return [(name, tuple(tensor.shape)) for name, tensor in state.items()]


def _empty_head(head: Head, backbone: LoadedBackbone) -> TaskHead:
    with torch.device("meta"):  # a form without memory
        return TaskHead(head, backbone.shape.hidden_size, deviation=None, dropout=0.0)


_ATTENTIONS = ("sdpa", "eager")
"""Implementations that take the mask of a cache of fixed length, numbers to add to the scores."""


def check_steps(backbone: LoadedBackbone, decoding: str) -> None:
    """Require a backbone on which a step is the same whatever stands in the batch.

    Raises:
        ConfigError: If its attention takes no mask of scores, its positions are a bias of the attention, or
            its rotary embeddings depend on the longest sequence.
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
    if backbone.positions == "bias":
        raise ConfigError(
            f"decoding must be plain where positions are a bias of the attention (ALiBi), as in backbone "
            f"{backbone.name!r}, got {decoding!r}: its steps take no mask of scores."
        )
    for kind in _moving_rope(backbone):
        raise ConfigError(
            f"decoding must be plain where the longest sequence of a batch decides the rotary "
            f"embeddings of all, as rope_type {kind!r} of backbone {backbone.name!r} has it, got "
            f"{decoding!r}."
        )


def check_window(backbone: LoadedBackbone, decoding: str, tokens: int) -> None:
    """Refuse sequences longer than a sliding window, beyond which layers forget tokens.

    Raises:
        ConfigError: If the window is shorter.
    """
    window = getattr(_config(backbone), "sliding_window", None)
    if window is not None and tokens > window:
        raise ConfigError(
            f"decoding must be plain where prompt and answer exceed the sliding window of {window} "
            f"tokens of backbone {backbone.name!r}, got {decoding!r} with {tokens} tokens."
        )


def check_mixing(backbone: LoadedBackbone) -> None:
    """Require a backbone on which a sequence is the same whatever else is in the batch.

    Raises:
        BackboneError: If the longest sequence of a batch decides its embeddings.
    """
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
