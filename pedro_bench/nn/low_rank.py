"""A low-rank update beside a frozen linear map.

Legend: R rank, I in-features, O out-features.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LowRankUpdate(nn.Module):
    """scaling * dropout(x) A^T B^T, in float32, cast to the dtype of the map it is added to.

    Under autocast (training on a GPU) its products are in bfloat16, as peft's are.

    A is Kaiming-uniform with a = sqrt(5) (uniform in +-1/sqrt(I)), B is zero: it starts as nothing.

    Args:
        inputs: I.
        outputs: O.
        r: Rank R, at least 1.
        scaling: Constant factor (alpha / r in LoRA).
        dropout: Probability of dropping an input feature in training, in [0, 1).

    Attributes:
        lora_A: (R, I).
        lora_B: (O, R).
    """

    def __init__(
        self, inputs: int, outputs: int, r: int, *, scaling: float, dropout: float
    ) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(r, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = scaling
        self.dropout = dropout

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Return `base` plus the update of `x`.

        Args:
            x: Input of the frozen map, (…, I).
            base: Output of the frozen map, (…, O).
        """
        kept = F.dropout(x.to(self.lora_A.dtype), self.dropout, self.training)
        update = F.linear(F.linear(kept, self.lora_A), self.lora_B) * self.scaling
        return base + update.to(base.dtype)
