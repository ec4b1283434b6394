"""A trainable vector that is the same for every prompt: plain, or factored as z P.

Legend: B examples, R inner dimension, O width.
"""

import torch
from torch import Tensor, nn

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
