"""DoRA's update beside a frozen projection, for one adapter and for many tenants.

    y + (g - 1) (y - bias) + g s x A^T B^T        g = m / ||W + s B A||, one number for each output

is what the projection with the weights W' = g (W + s B A) puts out, where y = x W^T + bias.

Legend: B examples, T tokens, R rank, I in-features, O out-features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from pedro_bench.errors import InjectionError
from pedro_bench.nn.blocks import LowRankUpdate
from pedro_bench.nn.tenant_blocks import TenantUpdate, tenant_block
from pedro_bench.protocols.backbone import Columns, Site
from pedro_bench.protocols.context import current_context


class FrozenWeights:
    """What is read of the frozen projection; it stays the backbone's.

    Args:
        site: The projection.

    Raises:
        InjectionError: If its weights are split over processes.
    """

    def __init__(self, site: Site) -> None:
        if isinstance(site.module.weight, DTensor):
            raise InjectionError(
                "a method that reads the norms of the backbone's weights must find them whole in every "
                f"process, got {site.path!r} split by FSDP: start accelerate without --use_fsdp."
            )
        self.path = site.path
        self._site = site

    def weight(self) -> Tensor:
        """Return the role's weights (O, I) in float32."""
        return self._site.weight().flatten(0, 1).float()

    def bias(self) -> Tensor | None:
        """Return the role's own bias (O,), or None."""
        bias: Tensor | None = self._site.module.bias  # type: ignore[assignment]  # a projection has one or None
        if bias is None:
            return None
        columns = self._site.columns or Columns(0, self._site.outputs)
        return columns.take(bias.detach())

    @torch.no_grad()
    def norms(self, down_RI: Tensor, up_OR: Tensor, scaling: float) -> Tensor:
        """Return ||W + scaling B A|| of each row, (O,) in float32; no gradient passes.

        It is made of ||W||^2 + 2 s <W A^T, B> + s^2 <B A A^T, B>; with B = 0 it is ||W|| to the bit.
        """
        with torch.autocast(down_RI.device.type, enabled=False):
            weight_OI = self.weight()
            crossed_O = (weight_OI @ down_RI.mT * up_OR).sum(1)
            squared_O = (up_OR @ (down_RI @ down_RI.mT) * up_OR).sum(1)
            sum_O = weight_OI.square().sum(1) + 2 * scaling * crossed_O + scaling**2 * squared_O
            return sum_O.clamp(min=torch.finfo(torch.float32).tiny).sqrt()


class DecomposedUpdate(LowRankUpdate):
    """DoRA's update, which turns a projection's output into that of the weights W'.

    Args:
        site: The projection.
        r: Rank R, at least 1.
        scaling: s, alpha / r.
        dropout: Probability of dropping an input feature of what the update adds, in [0, 1).

    Attributes:
        magnitude: m (O,), starts at the norms of the rows of W.
        path: Where the method put it, such as `layers.3.key`; empty while it stands alone.

    Raises:
        InjectionError: If the weights are split over processes, or a row of them is zero.
    """

    def __init__(self, site: Site, r: int, *, scaling: float, dropout: float) -> None:
        super().__init__(site.inputs, site.outputs, r, scaling=scaling, dropout=dropout)
        self.path = ""
        self.frozen = FrozenWeights(site)
        device = self.frozen.weight().device
        start_O = self.frozen.norms(self.lora_A.to(device), self.lora_B.to(device), scaling)
        if not bool((start_O > 1e-12).all()):
            raise InjectionError(
                f"weights must have a direction in every row to be decomposed, got a row of zeros in "
                f"{site.path!r}: leave the role {site.role!r} out of method.roles."
            )
        self.magnitude = nn.Parameter(start_O)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Return the output of the weights W'.

        Args:
            x: Input of the frozen map, (…, I).
            base: Its output, (…, O).
        """
        kept = F.dropout(x.to(self.lora_A.dtype), self.dropout, self.training)
        update = F.linear(F.linear(kept, self.lora_A), self.lora_B) * self.scaling
        if self.training and self.dropout > 0:
            plain = F.linear(kept, self.frozen.weight())
        else:
            plain = _without(self.frozen.bias(), base)
        return _composed(base, plain, update, self._gain())

    def _gain(self) -> Tensor:
        """Return m / ||W + s B A||: (O,), or where nothing is trained (B, 1, O), made once a generation."""

        def gain() -> Tensor:
            return self.magnitude / self.frozen.norms(self.lora_A, self.lora_B, self.scaling)

        if not self.path or torch.is_grad_enabled():
            return gain()
        context = current_context()
        kept: Tensor = context.kept(
            f"dora/{self.path}", lambda: gain().expand(context.num_examples, 1, -1)
        )
        return kept


class TenantDecomposed(TenantUpdate):
    """`DecomposedUpdate` for many tenants; the norms are computed when a tenant is added."""

    def __init__(self, template: DecomposedUpdate) -> None:
        super().__init__(template)
        self.frozen = template.frozen

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep both matrices, and the gain (O,) in place of the magnitude."""
        device = self.frozen.weight().device
        down, up = tensors["lora_A"].to(device), tensors["lora_B"].to(device)
        gain = tensors["magnitude"].to(device) / self.frozen.norms(down, up, self.scaling)
        return {"lora_A": down, "lora_B": up, "gain": gain}

    def forward(self, x_BTI: Tensor, base_BTO: Tensor) -> Tensor:
        """Return the output of each tenant's own weights."""
        rows = self.kept(x_BTI.device)
        inner_BTR = x_BTI.to(rows["lora_A"].dtype) @ rows["lora_A"].mT
        update_BTO = (inner_BTR @ rows["lora_B"].mT) * self.scaling
        plain_BTO = _without(self.frozen.bias(), base_BTO)
        return _composed(base_BTO, plain_BTO, update_BTO, rows["gain"].unsqueeze(1))


tenant_block.register(DecomposedUpdate, TenantDecomposed)


def _without(bias: Tensor | None, base: Tensor) -> Tensor:
    return base if bias is None else base - bias


def _composed(base: Tensor, plain: Tensor, update: Tensor, gain: Tensor) -> Tensor:
    return (base + ((gain - 1) * plain + gain * update)).to(base.dtype)
