"""BitFit: only bias terms are trained; here, a vector added to the output of each projection.

    h = W x + b        Ben-Zaken et al. 2022, arXiv:2106.10199, section 3

- `r: null`, the plain method. On a backbone whose projections have biases (Qwen's query, key and value)
  those are trained and no others are made. Llama has none at all: there a vector is added to the output of
  every projection of `roles`, as though it had a bias of zero.
- With `r`, the PEDRO paper's enlargement to its budget (section 4.1): b = z P with z (r',), P (r', out) and
  r' = 8, added to the output of every projection of `roles`.

Every vector starts at exactly zero, on top of the backbone's own bias: an offset b - b_0 from the bias
b_0 that the backbone brings moves as b itself does under an optimiser without decay (vectors are never
decayed), needs no float32 backbone, and is taken away without a trace.

Deviations: biases of normalisations are not trained (Llama-family ones have none), and there is no
classification head. The paper gives no initialisation of z and P; see `nn.blocks.FreeVector` for ours.
Since z P is itself one free vector, r' changes how training moves, not what can be expressed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pedro_bench import checks
from pedro_bench.protocols.backbone import LINEAR_ROLES, BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """BitFit's settings.

    Attributes:
        r: Inner dimension of the factored vectors, at least 1, or None for free vectors.
        roles: Projections to adapt, out of LINEAR_ROLES.
    """

    r: int | None
    roles: tuple[str, ...]

    is_affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("method.r", self.r, optional=True)
        object.__setattr__(self, "roles", checks.roles("method.roles", self.roles, LINEAR_ROLES))

    def _places(self, shape: BackboneShape) -> dict[tuple[int | None, str], int]:
        """Return (layer, role) -> out-features of every projection that gets a vector."""
        widths = list(shape.each(self.roles))
        with_bias = [entry for entry in widths if entry[2].bias]
        chosen = with_bias if self.r is None and with_bias else widths
        return {(layer, role): width.outputs for layer, role, width in chosen}

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Sum the out-features, times r where factored; z is left out of the matrices."""
        places = self._places(shape)
        total = sum(places.values())
        if self.r is None:
            return ParameterCount(matrices=total, trainable=total)
        matrices = self.r * total
        return ParameterCount(matrices=matrices, trainable=matrices + self.r * len(places))

    def attach(self, injection: Injection) -> None:
        """Add a vector to the output of every chosen projection."""
        from pedro_bench.nn.blocks import FreeVector, shift

        places = self._places(injection.shape)
        for site in injection.sites(self.roles):
            if (site.layer, site.role) not in places:
                continue
            vector = injection.add(
                f"layers.{site.layer}.{site.role}", FreeVector(site.outputs, start=0.0, r=self.r)
            )

            def add_bias(_: "Tensor", output: "Tensor", vector: FreeVector = vector) -> "Tensor":
                return shift(output, vector())

            injection.on_output(site, add_bias)
