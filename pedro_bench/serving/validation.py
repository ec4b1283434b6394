"""Admission: which trained adapters a bank may take in, and what it keeps of them."""

from collections.abc import Mapping

import torch

from pedro_bench.errors import BackboneError, ConfigError, InjectionError
from pedro_bench.nn.tenant_blocks import TenantBlock, Tensors
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.serving.mixing import Held
from pedro_bench.serving.tenant import TenantAdapter, acting_settings


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
            raise ConfigError(
                f"tenant {tenant!r} must have trained the bank's method {method.name!r}, got "
                f"{adapter.method.name!r} with {name}={given.get(name)!r} where the bank has "
                f"{own.get(name)!r}: open another bank for it."
            )
    expected = {
        f"{path}.{name}": shape
        for path, block in blocks.items()
        for name, shape in block.expected.items()
    }
    found = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    wrong = sorted(name for name, _ in expected.items() ^ found.items())
    if wrong:
        raise InjectionError(
            f"tenant {tenant!r} must bring the tensors of method {method.name!r} on backbone "
            f"{backbone.name!r}, got a difference in {wrong[0]!r}."
        )


def held_of(
    adapter: TenantAdapter, blocks: Mapping[str, TenantBlock], device: torch.device
) -> Held:
    """Return what a bank keeps of an adapter: copies on its device, in the dtype the method computes in.

    So an adapter that was saved in another dtype acts as it does alone, where its tensors are read into
    the method's own.
    """
    held: dict[str, Tensors] = {}
    for path, block in blocks.items():
        own = {
            name: adapter.tensors[f"{path}.{name}"].detach().to(dtype)
            for name, dtype in block.dtypes.items()
        }
        held[path] = {
            name: tensor.to(device, copy=True) for name, tensor in block.prepare(own).items()
        }
    return held
