"""Tenants: what one brings, trained tensors and what they were trained on; what all take in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from pedro_bench.data.prompt import PromptTemplate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.tenant_blocks import TenantBlock
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe


@dataclass(frozen=True)
class TenantAdapter:
    """A trained adapter.

    Attributes:
        method: The method that was trained.
        backbone_revision: `LoadedBackbone.revision` of the backbone it was trained on.
        tensors: As `AdaptedModel.adapter_state` gives them.
        templates: The prompt templates of its task; only they write control tokens.
    """

    method: Method
    backbone_revision: str
    tensors: Mapping[str, Tensor]
    templates: tuple[PromptTemplate, ...] = ()

    @classmethod
    def of(cls, adapted: AdaptedModel) -> "TenantAdapter":
        """Copy the adapter out of an adapted model."""
        return cls(adapted.method, adapted.backbone.revision, adapted.adapter_state())


@dataclass(frozen=True)
class BankMemory:
    """What the tenants of a bank take.

    Attributes:
        tenants: Their number.
        bytes_per_tenant: Bytes of each one's tensors (all tenants have the same shapes and dtypes); 0
            without any.
        device: Where they lie.
    """

    tenants: int
    bytes_per_tenant: int
    device: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all tenants' tensors, the backbone not counted."""
        return self.tenants * self.bytes_per_tenant


def acting_settings(method: Method, blocks: Iterable[TenantBlock]) -> dict[str, Any]:
    """Return the settings that decide what a trained adapter does: not names, not learning rates.

    Args:
        method: What was trained.
        blocks: The bank's, which know what acts in training only.
    """
    idle = {part.name for part in fields(Method)}
    idle.update(*(block.training_only for block in blocks))
    described: dict[str, Any] = describe(method)
    return {name: value for name, value in described.items() if name not in idle}
