"""A vector times a hidden representation, or added to it: in the vector's dtype, rounded to the other's.

Where nothing is trained, the result takes the representation's own place: one kernel for each
application and no new memory, with the same bits. So give it what a module has just made and nobody
else holds, such as a projection's output.
"""

import torch
from torch import Tensor


def scale(x: Tensor, vector: Tensor) -> Tensor:
    """Return `x * vector`, element by element.

    Args:
        x: Hidden representations (…, width); overwritten where gradients are off.
        vector: Float32, of a shape that broadcasts to that of `x`.
    """
    if torch.is_grad_enabled():
        return (x * vector).to(x.dtype)
    return x.mul_(vector)


def shift(x: Tensor, vector: Tensor) -> Tensor:
    """Return `x + vector`; arguments as those of `scale`."""
    if torch.is_grad_enabled():
        return (x + vector).to(x.dtype)
    return x.add_(vector)
