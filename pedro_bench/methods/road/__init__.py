"""RoAd: two-dimensional rotations and scalings of a projection's output.

    z = R h,   R block-diagonal of 2 x 2 blocks        Liao & Monz 2024, arXiv:2409.00119

    road_1    alpha (cos t, -sin t; sin t, cos t)                               one angle and scale a block
    road_2    (a_1 cos t_1, -a_1 sin t_1; a_2 sin t_2, a_2 cos t_2)             one a row
    road_4    (a_11 cos t_11, -a_12 sin t_12; a_21 sin t_21, a_22 cos t_22)     one an entry

Element by element, z = c * h + s * h', where h' is h with the two numbers of each block exchanged and the
first negated. Angles start at zero and scales at one, so training starts at the backbone.

Shapes: angles and scales (out / 2,), (out,), (2, out). Blocks are of neighbouring outputs, as the paper
writes them; `group_size` pairs output i of each group with output i + group_size / 2, as peft does.

Deviations: angles, scales and product are float32, cast back to the output's dtype.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor, nn

_NUMBERS = {"road_1": 1, "road_2": 2, "road_4": 4}
"""Variant -> numbers trained for each output: half of them angles, half of them scales."""
VARIANTS = tuple(_NUMBERS)


@dataclass(frozen=True, kw_only=True)
class Road(Method):
    """RoAd's settings.

    Attributes:
        variant: One of VARIANTS.
        group_size: Outputs of a group, even; every adapted width must be a multiple of it.
        roles: Projections whose outputs are rotated, out of LINEAR_ROLES.
    """

    variant: str
    group_size: int
    roles: tuple[str, ...]

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("method.variant", self.variant, VARIANTS)
        checks.integer("method.group_size", self.group_size, least=2)
        if self.group_size % 2:
            raise ConfigError(f"method.group_size must be even, got {self.group_size}.")
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, LINEAR_ROLES))

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the widths of the rotated outputs, times 1, 2 or 4.

        Raises:
            InjectionError: If a width is no multiple of the group size.
        """
        total = 0
        for _, role, width in shape.each(self.roles):
            self._check_width(role, width.outputs)
            total += _NUMBERS[self.variant] * width.outputs
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        """Rotate the output of every chosen projection.

        Raises:
            InjectionError: If a width is no multiple of the group size.
        """
        from pedro_bench.methods.road.layers import Rotation

        for site in injection.sites(self.roles):
            self._check_width(site.role, site.outputs)
            rotation = injection.add(
                f"layers.{site.layer}.{site.role}",
                Rotation(site.outputs, self.variant, self.group_size),
            )

            def rotate(_: "Tensor", output: "Tensor", rotation: "nn.Module" = rotation) -> "Tensor":
                rotated: Tensor = rotation(output)
                return rotated

            injection.on_output(site, rotate)

    def _check_width(self, role: str, width: int) -> None:
        if width % self.group_size:
            raise InjectionError(
                f"method.group_size must divide the {width} outputs of role {role!r}, got "
                f"{self.group_size}: 2 pairs neighbours."
            )
