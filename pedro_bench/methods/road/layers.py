"""RoAd's rotation of a projection's output, for one adapter and for many tenants.

Legend: B examples, T tokens, O out-features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block
from pedro_bench.protocols.context import current_context


class Rotation(nn.Module):
    """z = c * h + s * h', in float32, cast back to the dtype of h.

    Args:
        width: O, a multiple of `group_size`.
        variant: `road_1`, `road_2` or `road_4`.
        group_size: Outputs of a group, even; output i of a group makes a pair with i + group_size / 2.

    Attributes:
        theta: Angles in radians, zero at the start: (O/2,), group by group, one a pair; (O,), one an output;
            or (2, O), those of c and those of s.
        alpha: Scales of the same shape, one at the start.
        path: Where the method put it, such as `layers.3.key`; empty while it stands alone.
    """

    def __init__(self, width: int, variant: str, group_size: int) -> None:
        super().__init__()
        self.path = ""
        self.distance = group_size // 2
        shape = {"road_1": (width // 2,), "road_2": (width,), "road_4": (2, width)}[variant]
        self.width = width
        self.theta = nn.Parameter(torch.zeros(shape))
        self.alpha = nn.Parameter(torch.ones(shape))

    def forward(self, output: Tensor) -> Tensor:
        """Return the rotated output (…, O)."""
        if not self.path or torch.is_grad_enabled():
            straight, across = self.coefficients(self.theta, self.alpha)
        else:  # nothing is trained: once in a generation
            context = current_context()
            straight, across = context.kept(
                f"road/{self.path}",
                lambda: tuple(
                    one.expand(context.num_examples, 1, -1)
                    for one in self.coefficients(self.theta, self.alpha)
                ),
            )
        return rotated(output, straight, across, self.distance)

    def coefficients(self, theta: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return c and s, (O,) each, of angles and scales in the shapes of the attributes."""
        if theta.ndim == 2:
            return alpha[0] * theta[0].cos(), alpha[1] * theta[1].sin()
        if len(theta) < self.width:
            theta, alpha = (
                one.unflatten(0, (-1, 1, self.distance)).expand(-1, 2, -1).reshape(-1)
                for one in (theta, alpha)
            )
        return alpha * theta.cos(), alpha * theta.sin()


class TenantRotation(TenantBlock):
    """`Rotation` for many tenants; c and s are computed when a tenant is added."""

    def __init__(self, template: Rotation) -> None:
        super().__init__(template)
        self.distance = template.distance
        self._coefficients = template.coefficients

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep c and s (O,) in place of angles and scales."""
        straight, across = self._coefficients(tensors["theta"], tensors["alpha"])
        return {"straight": straight, "across": across}

    def forward(self, output_BTO: Tensor) -> Tensor:
        """Return the output as each tenant rotates it."""
        rows = self.kept(output_BTO.device)
        return rotated(
            output_BTO, rows["straight"].unsqueeze(1), rows["across"].unsqueeze(1), self.distance
        )


tenant_block.register(Rotation, TenantRotation)


def rotated(output: Tensor, straight: Tensor, across: Tensor, distance: int) -> Tensor:
    """Return straight * output + across * output', whose pairs are exchanged and the first negated.

    Args:
        output: (…, O).
        straight: c, float32, of a shape that broadcasts to that of `output`.
        across: s, likewise.
        distance: Outputs between the two of a pair, half a group.
    """
    first, second = output.unflatten(-1, (-1, 2, distance)).unbind(-2)  # type: ignore[no-untyped-call]
    exchanged = torch.stack((-second, first), -2).flatten(-3)
    return (output * straight + exchanged * across).to(output.dtype)
