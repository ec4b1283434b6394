"""A low-rank update in the form of a singular value decomposition, beside a frozen linear map.

Legend: R rank, I in-features, O out-features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_INIT_STD = 0.02
_EPSILON = 1e-5
"""The authors' code divides by R + 1e-5."""


class SvdUpdate(nn.Module):
    """alpha / (R + 1e-5) * dropout(x) (diag(E) A)^T B^T, in float32, cast to the dtype of the map.

    Under autocast (training on a GPU) its products are in bfloat16, as peft's are.

    A and B are N(0, 0.02^2), E is zero: it starts as nothing. An entry of E at zero switches its row
    of A and its column of B off; R in the scaling stays what it was.

    Args:
        inputs: I.
        outputs: O.
        r: Rank R at the start, at least 1.
        alpha: Numerator of the scaling.
        dropout: Probability of dropping an input feature in training, in [0, 1).

    Attributes:
        lora_A: Right singular vectors, (R, I).
        lora_E: Singular values, (R, 1).
        lora_B: Left singular vectors, (O, R).
    """

    def __init__(self, inputs: int, outputs: int, r: int, *, alpha: float, dropout: float) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(r, inputs).normal_(0.0, _INIT_STD))
        self.lora_E = nn.Parameter(torch.zeros(r, 1))
        self.lora_B = nn.Parameter(torch.empty(outputs, r).normal_(0.0, _INIT_STD))
        self.scaling = alpha / (r + _EPSILON)
        self.dropout = dropout

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Return `base` plus the update of `x`.

        Args:
            x: Input of the frozen map, (…, I).
            base: Output of the frozen map, (…, O).
        """
        kept = F.dropout(x.to(self.lora_A.dtype), self.dropout, self.training)
        update = F.linear(F.linear(kept, self.lora_A * self.lora_E), self.lora_B) * self.scaling
        return base + update.to(base.dtype)


def svd_updates(adapter: nn.Module) -> dict[str, SvdUpdate]:
    """Return every `SvdUpdate` of an adapter by its path."""
    return {
        path: module for path, module in adapter.named_modules() if isinstance(module, SvdUpdate)
    }


def orthogonality(updates: Mapping[str, SvdUpdate]) -> Tensor:
    """Return how far A and B are from orthonormal: the mean of ||A A^T - I|| and ||B^T B - I||.

    Args:
        updates: At least one.

    Returns:
        Mean of the Frobenius norms over all matrices A and B, a scalar.
    """
    distances = []
    for update in updates.values():
        for gram_RR in (update.lora_A @ update.lora_A.t(), update.lora_B.t() @ update.lora_B):
            identity_RR = torch.eye(gram_RR.shape[0], dtype=gram_RR.dtype, device=gram_RR.device)
            distances.append(torch.linalg.matrix_norm(gram_RR - identity_RR))
    return torch.stack(distances).mean()
