"""RED: representation editing by a scaling and a bias vector in every layer.

    h_2 = l_scaling * h_1 + l_bias        Wu et al. 2024, arXiv:2402.15179, eq. (3)

h_1 is the output of the feed-forward network, before it is added to the residual stream: the output
of its down-projection. Table 7 edits the attention's output instead (`red_attention`), or both
(`red_both`); Table 6 leaves out one of the vectors (`red_no_scaling`, `red_no_bias`).

Shapes: l_scaling (d,), l_bias (d,). Initialisation: one and zero, so training starts at the backbone.
The paper counts both vectors.

Deviations: vectors and product are float32, cast back to the output's dtype; the authors' code keeps
them in bfloat16 on Llama, where steps of an ordinary learning rate vanish in the rounding around 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape, Site
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Red(Method):
    """RED's settings.

    Attributes:
        roles: Projections whose outputs are edited, out of LINEAR_ROLES.
        scaling: Whether there is a scaling vector.
        bias: Whether there is a bias vector; one of the two there must be.
    """

    roles: tuple[str, ...]
    scaling: bool
    bias: bool

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, LINEAR_ROLES))
        checks.flag("method.scaling", self.scaling)
        checks.flag("method.bias", self.bias)
        if not (self.scaling or self.bias):
            raise ConfigError(
                "method.bias must be true with method.scaling=false, got False: without either "
                "vector nothing is trained."
            )

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the widths of the edited outputs, once for each kind of vector."""
        width = sum(width.outputs for _, _, width in shape.each(self.roles))
        total = (self.scaling + self.bias) * width
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        """Edit the output of every chosen projection."""
        for site in injection.sites(self.roles):
            self._edit(injection, site)

    def _edit(self, injection: Injection, site: Site) -> None:
        from pedro_bench.nn.blocks import FreeVector

        def add(name: str, start: float) -> FreeVector:
            path = f"layers.{site.layer}.{site.role}.{name}"
            vector: FreeVector = injection.add(path, FreeVector(site.outputs, start=start, r=None))
            return vector

        scaling = add("scaling", 1.0) if self.scaling else None
        bias = add("bias", 0.0) if self.bias else None

        def edit(_: "Tensor", output: "Tensor") -> "Tensor":
            edited = output if scaling is None else output * scaling()
            edited = edited if bias is None else edited + bias()
            return edited.to(output.dtype)

        injection.on_output(site, edit)
