"""A generator that turns the prompt's hidden states into the embeddings of a late prompt.

It has a form for one adapter and one for many tenants.

    ReLU(AdaptivePool(H W_1 + b_1)) W_2 + b_2      H (n, D), the n prompt tokens of one example

Adaptive pooling to P rows: row i pools the tokens from floor(i n / P) up to, not including,
ceil((i + 1) n / P), so that with n < P neighbouring rows share tokens.

Legend: B examples, T tokens, D hidden, M inner width, P tokens of the late prompt, n prompt tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block

POOLERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": F.adaptive_max_pool1d,
    "mean": F.adaptive_avg_pool1d,
}


@dataclass(frozen=True)
class AdaptivePooling:
    """Pools each example's prompt tokens to P rows.

    Attributes:
        num_rows: P, at least 1.
        pool: A value of POOLERS.
    """

    num_rows: int
    pool: Callable[[Tensor, int], Tensor]

    def __call__(self, inner_BTM: Tensor, prompt_mask_BT: Tensor) -> Tensor:
        """Return (B, P, M); only tokens of the prompt mask are read."""
        pooled_BMP = torch.stack(
            [
                self.pool(inner_TM[mask_T].t(), self.num_rows)
                for inner_TM, mask_T in zip(inner_BTM, prompt_mask_BT, strict=True)
            ]
        )
        return pooled_BMP.transpose(1, 2)


class LatePromptGenerator(nn.Module):
    """The pooling generator, in float32; linear maps start as PyTorch makes them.

    Args:
        hidden_size: D.
        bottleneck_size: M, at least 1.
        num_virtual_tokens: P, at least 1.
        pooling: Key of POOLERS.
    """

    def __init__(
        self, hidden_size: int, bottleneck_size: int, num_virtual_tokens: int, *, pooling: str
    ) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, bottleneck_size)
        self.up = nn.Linear(bottleneck_size, hidden_size)
        self.pooling = AdaptivePooling(num_virtual_tokens, POOLERS[pooling])

    def forward(self, hidden_BTD: Tensor, prompt_mask_BT: Tensor) -> Tensor:
        """Return the late prompts (B, P, D); only tokens of the prompt mask are read."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            inner_BTM = self.down(hidden_BTD.to(self.down.weight.dtype))
            made: Tensor = self.up(self.pooling(inner_BTM, prompt_mask_BT).relu())
        return made


class TenantLatePrompt(TenantBlock):
    """`LatePromptGenerator` for many tenants. Used while prompts pass."""

    def __init__(self, template: LatePromptGenerator) -> None:
        super().__init__(template)
        self.pooling = template.pooling

    def forward(self, hidden_BTD: Tensor, prompt_mask_BT: Tensor) -> Tensor:
        """Return the late prompts (B, P, D), each made by its tenant's matrices."""
        rows = self.gather(hidden_BTD.device)
        wide_BTD = hidden_BTD.to(rows["down.weight"].dtype)
        inner_BTM = wide_BTD @ rows["down.weight"].mT + rows["down.bias"].unsqueeze(1)
        pooled_BPM = self.pooling(inner_BTM, prompt_mask_BT).relu()
        return pooled_BPM @ rows["up.weight"].mT + rows["up.bias"].unsqueeze(1)


tenant_block.register(LatePromptGenerator, TenantLatePrompt)
