"""Admission: which trained adapters a bank may take in."""

from collections.abc import Mapping

from pedro_bench.errors import BackboneError, ConfigError, InjectionError
from pedro_bench.nn.tenant_blocks import TenantBlock
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.serving.tenant import TenantAdapter, acting_settings


def refuse_stranger(
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
    if adapter.backbone_revision != backbone.revision:
        raise BackboneError(
            f"tenant {tenant!r} must have been trained on the bank's backbone "
            f"{backbone.name!r} ({backbone.revision}), got an adapter of "
            f"{adapter.backbone_revision}."
        )
    own, given = acting_settings(method), acting_settings(adapter.method)
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
