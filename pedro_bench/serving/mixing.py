"""Mixing: one batch of a bank's tenants, as decoding sees it."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.tenant_blocks import TenantContext, Tensors
from pedro_bench.protocols.batch import Batch, Encoded

Held = Mapping[str, Tensors]
"""One tenant's tensors: path of a block -> name -> tensor."""


class MixedBatch:
    """One batch of a bank as decoding sees it: an adapted model whose context knows the tenants."""

    def __init__(
        self,
        adapted: AdaptedModel,
        tenants: Sequence[str],
        held: Mapping[str, Held],
        prompts: Sequence[Encoded],
    ) -> None:
        self.backbone = adapted.backbone
        self.method = adapted.method
        self._adapted = adapted
        self._tenants = tenants
        self._held = held
        self._lengths = [len(prompt.prompt_ids) for prompt in prompts]

    def modules(self) -> Iterator[nn.Module]:
        """All modules, the backbone's included."""
        return self._adapted.modules()

    def context(self, prompt_mask_BT: Tensor) -> TenantContext:
        """Make the context of the batch; its rows stand as the batch was given, longest first."""
        assert prompt_mask_BT.sum(1).tolist() == self._lengths
        return context_of(prompt_mask_BT, self._tenants, self._held)

    def answer_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As an adapted model's; within a context of the caller's own."""
        return self._adapted.answer_logits(batch)


def context_of(
    prompt_mask_BT: Tensor, tenants: Sequence[str], held: Mapping[str, Held]
) -> TenantContext:
    """Make the context of one generation.

    Args:
        prompt_mask_BT: True at prompt tokens.
        tenants: Whose each example is.
        held: Every tenant's tensors.

    Raises:
        ConfigError: If the number of tenants is not that of the examples.
    """
    if len(tenants) != prompt_mask_BT.shape[0]:
        raise ConfigError(
            f"tenants must name one for each of the {prompt_mask_BT.shape[0]} examples, got "
            f"{len(tenants)}."
        )
    distinct = list(dict.fromkeys(tenants))
    place = {tenant: index for index, tenant in enumerate(distinct)}
    index_B = torch.tensor([place[tenant] for tenant in tenants], device=prompt_mask_BT.device)
    return TenantContext(prompt_mask_BT, index_B, [held[tenant] for tenant in distinct])
