"""LoRA: a low-rank update beside each frozen projection.

    h = W x + (alpha / r) B A x        Hu et al. 2021, arXiv:2106.09685, eq. (3)

A (r, in) is Kaiming-uniform with a = sqrt(5), B (out, r) is zero, so training starts at the backbone.
The PEDRO paper uses r = 4 on all seven projections. It stays beside the weights: in a backbone that
serves many tenants it cannot be merged (`cli.export format=merged` writes a model in which it is).

Deviations: A as in the authors' code (and peft), where the paper says Gaussian. The PEDRO paper gives
no alpha; ours is 2 r, the usual choice.
"""

from dataclasses import dataclass
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """LoRA's settings.

    Attributes:
        r: Rank, at least 1.
        alpha: Numerator of the scaling alpha / r, above 0.
        dropout: Dropout on the update's input, in [0, 1).
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
        """Sum r (in + out) over the adapted projections."""
        total = sum(
            self.r * (width.inputs + width.outputs) for _, _, width in shape.each(self.roles)
        )
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        """Add a low-rank update to every adapted projection."""
        from pedro_bench.nn.blocks import LowRankUpdate

        for site in injection.sites(self.roles):
            update = injection.add(
                f"layers.{site.layer}.{site.role}",
                LowRankUpdate(
                    site.inputs,
                    site.outputs,
                    self.r,
                    scaling=self.alpha / self.r,
                    dropout=self.dropout,
                ),
            )
            injection.on_output(site, update)
