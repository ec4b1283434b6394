"""DoRA: LoRA with the magnitude of every weight row trained apart from its direction.

    W' = m * (W + (alpha / r) B A) / ||W + (alpha / r) B A||        Liu et al. 2024, arXiv:2402.09353, eq. (5)

The norm is that of each row of the (out, in) matrix, one number for each output; m (out,) starts at the norms
of W, so training starts at the backbone. The norm counts as a constant in backward (section 4.3).

A (r, in) is Kaiming-uniform with a = sqrt(5), B (out, r) is zero, as LoRA's. Settings as LoRA's here.

Deviations: norms and the whole update are float32 whatever the backbone's dtype; peft computes them in that
dtype. The norm is computed from ||W||^2, W A^T and A A^T, without the (out, in) product B A.
"""

from dataclasses import dataclass
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount


@dataclass(frozen=True, kw_only=True)
class Dora(Method):
    """DoRA's settings.

    Attributes:
        r: Rank, at least 1.
        alpha: Numerator of the scaling alpha / r, above 0.
        dropout: Dropout on the input of all that training adds, in [0, 1).
        roles: Projections to adapt, out of LINEAR_ROLES.
    """

    r: int
    alpha: float
    dropout: float
    roles: tuple[str, ...]

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r)
        checks.number("method.alpha", self.alpha, above=0)
        checks.number("method.dropout", self.dropout, least=0, below=1)
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, LINEAR_ROLES))

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum r (in + out) + out over the adapted projections; the paper counts the magnitudes too."""
        total = sum(
            self.r * (width.inputs + width.outputs) + width.outputs
            for _, _, width in shape.each(self.roles)
        )
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        """Put an update beside every adapted projection.

        Raises:
            InjectionError: If the weights are split over processes, or a row of them is zero.
        """
        from pedro_bench.methods.dora.layers import DecomposedUpdate

        for site in injection.sites(self.roles):
            update = injection.add(
                f"layers.{site.layer}.{site.role}",
                DecomposedUpdate(site, self.r, scaling=self.alpha / self.r, dropout=self.dropout),
            )
            injection.on_output(site, update)
