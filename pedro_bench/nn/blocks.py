"""Trainable blocks that several methods share: a vector, the same for every prompt, and a low-rank update.

A vector is plain, or factored as z P. The product or sum with a representation is computed in the vector's
dtype and rounded to the other's. Where nothing is trained, the result is written in place, with the same
bits: pass only a tensor that nobody else holds, such as a projection's output.

Legend: B examples, R rank or inner dimension, I in-features, O out-features or width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.protocols.context import current_context


class FreeVector(nn.Module):
    """A vector (O,) that starts at a constant.

    With `r` it is z P, z (R,) and P (R, O), as the PEDRO paper writes the baselines whose size it
    tunes: "initialize the vectors in a smaller dimension, then … project". The paper gives no
    initialisation. Ours starts at the constant exactly: z_1 = 1 with row P_1 the constant, all other
    rows of P zero, and z_2 … z_R drawn from N(0, 1/R) so that the rows do not move alike.

    Args:
        width: O.
        start: The constant.
        r: R, at least 1, or None for the plain vector.

    Attributes:
        path: Where a method put it, such as `layers.3.key`; empty while it stands alone.
    """

    def __init__(self, width: int, *, start: float, r: int | None) -> None:
        super().__init__()
        self.path = ""
        if r is None:
            self.vector = nn.Parameter(torch.full((width,), start))
            return
        inner = torch.empty(r).normal_(0.0, r**-0.5)
        inner[0] = 1.0
        projection = torch.zeros(r, width)
        projection[0] = start
        self.inner = nn.Parameter(inner)
        self.projection = nn.Parameter(projection)

    def forward(self) -> Tensor:
        """Return the vector in float32: (O,), or what broadcasts as it does, (B, 1, O).

        Where nothing is trained z P is multiplied out once in a generation, while its prompts pass, as
        anyone would who serves it; steps find it in the context's state.
        """
        if hasattr(self, "vector"):
            return self.vector
        if not self.path or torch.is_grad_enabled():
            return self._product()
        context = current_context()
        kept: Tensor = context.kept(
            f"vector/{self.path}", lambda: self._product().expand(context.num_examples, 1, -1)
        )
        return kept

    def _product(self) -> Tensor:
        with torch.autocast(self.inner.device.type, enabled=False):
            return self.inner @ self.projection


def scale(x: Tensor, vector: Tensor) -> Tensor:
    """Return `x * vector`, element by element, in the dtype of `x`.

    Args:
        x: (…, width); overwritten where gradients are off.
        vector: (width,), or what broadcasts as it does, (B, 1, width).
    """
    if torch.is_grad_enabled():
        return (x * vector).to(x.dtype)
    return x.mul_(vector)


def shift(x: Tensor, vector: Tensor) -> Tensor:
    """Return `x + vector`, element by element, in the dtype of `x`.

    Args:
        x: As in `scale`.
        vector: As in `scale`.
    """
    if torch.is_grad_enabled():
        return (x + vector).to(x.dtype)
    return x.add_(vector)


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
        """Return `base` (…, O) plus the update of `x` (…, I)."""
        kept = F.dropout(x.to(self.lora_A.dtype), self.dropout, self.training)
        update = F.linear(F.linear(kept, self.lora_A), self.lora_B) * self.scaling
        return base + update.to(base.dtype)
