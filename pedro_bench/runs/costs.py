"""Costs of a run that follow from shapes: bytes of the adapter, floating-point operations of a pass.

Operations are those of matrix products and attention, two for each multiplication and addition, counted from
shapes with PyTorch's formulas; element-wise work is not counted. They are of one forward pass over a prompt,
in which a method does all that it does for a prompt, without a cache.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import IGNORED, Batch

TOKENS = 128
"""Tokens of the prompt that operations are counted for; fewer where the model has no room for them."""


def adapter_bytes(adapted: AdaptedModel) -> int:
    """Return the bytes of all tensors that are saved as the trained adapter."""
    return sum(tensor.nbytes for tensor in adapted.adapter_state().values())


def operations(adapted: AdaptedModel, tokens: int = TOKENS) -> int:
    """Return the operations of a forward pass over a prompt and one answer token, the head's included.

    Args:
        adapted: The adapted model, in evaluation mode.
        tokens: Tokens of the prompt, at least 1; positions that the method takes come on top.
    """
    ids_BT = torch.ones(1, tokens + 1, dtype=torch.long, device=adapted.backbone.device)
    prompt_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    prompt_BT[:, -1] = False
    labels_BT = ids_BT.masked_fill(prompt_BT, IGNORED)
    batch = Batch(ids_BT, torch.ones_like(prompt_BT), prompt_BT, labels_BT)
    with torch.no_grad(), _Counter() as counter:
        adapted(batch)
    total: int = counter.total
    return total


class _Counter(TorchDispatchMode):
    """Adds up the operations of every kernel that is called meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = _FORMULAS.get(func.overloadpacket) or flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=output))
        return output


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Return 2 B H T S (W + U): keys and values (B, K, S, W or U) are repeated for all H heads of queries."""
    rows, heads, tokens, width = query.shape
    return 2 * rows * heads * tokens * key.shape[2] * (width + value.shape[3])


_FORMULAS: Mapping[Any, Callable[..., int]] = dict.fromkeys(
    (
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,  # PyTorch has no formula
        torch.ops.aten._scaled_dot_product_flash_attention,  # PyTorch 2.11's refuses K < H
        torch.ops.aten._scaled_dot_product_efficient_attention,
        torch.ops.aten._scaled_dot_product_cudnn_attention,
    ),
    _attention,
)
