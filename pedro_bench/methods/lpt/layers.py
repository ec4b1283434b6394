"""A generator that turns the prompt's hidden states into the embeddings of a late prompt.

    ReLU(AdaptivePool(H W_1 + b_1)) W_2 + b_2      H (n, D), the n prompt tokens of one example

Adaptive pooling to P rows: row i pools the tokens from floor(i n / P) up to, not including,
ceil((i + 1) n / P), so that with n < P neighbouring rows share tokens.

Legend: B examples, T tokens, D hidden, M inner width, P tokens of the late prompt, n prompt tokens.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": F.adaptive_max_pool1d,
    "mean": F.adaptive_avg_pool1d,
}


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
        self._num_virtual_tokens = num_virtual_tokens
        self._pool = POOLERS[pooling]

    def forward(self, hidden_BTD: Tensor, prompt_mask_BT: Tensor) -> Tensor:
        """Return the late prompts (B, P, D); only tokens of the prompt mask are read."""
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            inner_BTM = self.down(hidden_BTD.to(self.down.weight.dtype))
            pooled_BMP = torch.stack(
                [
                    self._pool(inner_TM[mask_T].t(), self._num_virtual_tokens)
                    for inner_TM, mask_T in zip(inner_BTM, prompt_mask_BT, strict=True)
                ]
            )
            made: Tensor = self.up(pooled_BMP.transpose(1, 2).relu())
        return made
