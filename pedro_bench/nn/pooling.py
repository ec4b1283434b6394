"""Pool the hidden states of a prompt into one vector per example.

Legend: B examples, T tokens, D hidden. Only positions in the prompt mask count, wherever padding is.
"""

import torch
from torch import Tensor

from pedro_bench.protocols.context import PromptContext

POOLERS = ("last", "mean", "max")
"""`last` prompt token (PEDRO), and the mean and the maximum over prompt tokens (its variants 1, 2)."""


def pool(hidden_BTD: Tensor, context: PromptContext, how: str) -> Tensor:
    """Return one vector per example, (B, D) in float32.

    Args:
        hidden_BTD: Hidden states of the whole forward.
        context: Says which positions are prompt.
        how: One of POOLERS.
    """
    if how == "last":
        rows_B = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
        return hidden_BTD[rows_B, context.last_prompt_B].float()
    mask_BT1 = context.prompt_mask_BT.unsqueeze(-1)
    if how == "mean":
        total_BD = hidden_BTD.float().masked_fill(~mask_BT1, 0.0).sum(dim=1)
        return total_BD / mask_BT1.sum(dim=1)
    if how == "max":
        return hidden_BTD.float().masked_fill(~mask_BT1, float("-inf")).amax(dim=1)
    raise AssertionError(how)  # methods check their settings against POOLERS
