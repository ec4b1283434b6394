"""(IA)^3: learned vectors rescale keys, values and the inner activation of the feed-forward network.

    K' = l_k * K,   V' = l_v * V,   FFN = (l_ff * g(x)) W_down        Liu et al. 2022, arXiv:2205.05638

In a gated feed-forward network g(x) is act(G) * U, the input of the down-projection. Every vector
starts at one. `r: null` is the plain method (free vectors); the PEDRO paper enlarges it to its budget
by l = z P with z (r',), P (r', width), r' = 16 (section 4.1).

Deviations: the paper gives no initialisation of z and P; see `nn.blocks.FreeVector` for ours,
which starts at exactly one. Since z P is itself one free vector, r' changes how training moves, not
what can be expressed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ia3(Method):
    """(IA)^3's settings.

    Attributes:
        r: Inner dimension of the factored vectors, at least 1, or None for free vectors.
    """

    r: int | None

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r, optional=True)

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the widths of K, V and the inner activation, times r; z is left out of the matrices."""
        widths = [width.outputs for _, _, width in shape.each(("key", "value"))]
        widths += [width.inputs for _, _, width in shape.each(("ffn_down",))]
        if self.r is None:
            return ParameterCount(matrices=sum(widths), trainable=sum(widths))
        matrices = self.r * sum(widths)
        return ParameterCount(matrices=matrices, trainable=matrices + self.r * len(widths))

    def attach(self, injection: Injection) -> None:
        """Scale the outputs of K and V and the input of the down-projection."""
        from pedro_bench.nn.blocks import FreeVector, scale

        for site in injection.sites(("key", "value", "ffn_down")):
            on_input = site.role == "ffn_down"
            width = site.inputs if on_input else site.outputs
            vector = injection.add(
                f"layers.{site.layer}.{site.role}", FreeVector(width, start=1.0, r=self.r)
            )

            def rescale_input(x: "Tensor", vector: FreeVector = vector) -> "Tensor":
                return scale(x, vector())

            def rescale(_: "Tensor", output: "Tensor", vector: FreeVector = vector) -> "Tensor":
                return scale(output, vector())

            if on_input:
                injection.on_input(site, rescale_input)
            else:
                injection.on_output(site, rescale)
