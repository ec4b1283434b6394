"""SSP's changes at one place, added to a module's output in turn; and their form for many tenants.

    y = m(x)
    y <- y + z * delta(x)      each change that reads the module's input: LoRA, scale, bias
    y <- y + z * adapter(y)    behind attention and the feed-forward network

Each term is cast to the dtype of the output before it is added. z are the gates of a search; what a search
has found is trained, and serves many tenants, without gates.

Legend: B examples, T tokens, I in-features, O out-features, G gates and K LoRA modules of the place,
M inner width of an adapter.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.methods.ssp.layers import (
    BiasDelta,
    Delta,
    LoraDelta,
    LowRankAdapterDelta,
    NormScaleDelta,
)
from pedro_bench.methods.ssp.space import Place, inner_width
from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block
from pedro_bench.protocols.backbone import Site

ADAPTER = "adapter"
"""Name of the change that reads the output, in tensors' names too; the others have their kinds' names."""


class PlaceDeltas(nn.Module):
    """All changes at one module's output.

    Args:
        parallel: Name -> change that reads the module's input, in the order of the gates.
        adapter: The change that reads the changed output, whose gate is the last; or None.
    """

    def __init__(
        self, parallel: Mapping[str, Delta], adapter: LowRankAdapterDelta | None = None
    ) -> None:
        super().__init__()
        self._parallel = [(name, delta.num_gates) for name, delta in parallel.items()]
        for name, delta in parallel.items():
            self.add_module(name, delta)
        self.adapter = adapter

    def forward(self, x_BTI: Tensor, output_BTO: Tensor, gates_B1G: Tensor | None) -> Tensor:
        """Return the changed output of the module (B, T, O).

        Args:
            x_BTI: Input of the module.
            output_BTO: Its output.
            gates_B1G: In the order of the changes, the adapter's last; or None for ones.
        """
        start = 0
        for name, num_gates in self._parallel:
            own = None if gates_B1G is None else gates_B1G[..., start : start + num_gates]
            start += num_gates
            output_BTO = output_BTO + self.get_submodule(name)(x_BTI, own).to(output_BTO.dtype)
        if self.adapter is not None:
            own = None if gates_B1G is None else gates_B1G[..., start:]
            output_BTO = output_BTO + self.adapter(output_BTO, own).to(output_BTO.dtype)
        return output_BTO


def deltas_at(site: Site, place: Place, *, alpha: float, reduction_factor: int) -> PlaceDeltas:
    """Build the changes of a place's candidates, drawing their parameters in the order of the gates.

    Args:
        site: The place in the loaded backbone.
        place: Its candidates.
        alpha: Scale of each LoRA module's update.
        reduction_factor: Width of the output over an adapter's inner width.

    Raises:
        InjectionError: If the place is a normalisation without an epsilon.
    """
    parallel: dict[str, Delta] = {}
    num_lora = place.count("lora")
    if num_lora:
        parallel["lora"] = LoraDelta(site.inputs, site.outputs, num_lora, alpha)
    if place.count("scale"):
        parallel["scale"] = NormScaleDelta(site.module, site.outputs)
    if place.count("bias"):
        parallel["bias"] = BiasDelta(site.outputs)
    adapter = None
    if place.count(ADAPTER):
        adapter = LowRankAdapterDelta(site.outputs, inner_width(site.outputs, reduction_factor))
    return PlaceDeltas(parallel, adapter)


class TenantDeltas(TenantBlock):
    """`PlaceDeltas` of a found structure for many tenants, who share the structure; without gates.

    A tenant's tensors have the names of one adapter's, each with one row an example: `lora.lora_A` (B, K, I),
    `bias.bias` (B, O), `adapter.down.left` (B, O, 1).
    """

    training_only = ("budget", "beta")

    def __init__(self, template: PlaceDeltas) -> None:
        super().__init__(template)
        own = dict(template.named_children())
        self.parallel = [name for name in own if name != ADAPTER]
        self.has_adapter = ADAPTER in own
        lora, scale = own.get("lora"), own.get("scale")
        self.alpha = lora.alpha if isinstance(lora, LoraDelta) else 0.0
        self.normed = scale.normed if isinstance(scale, NormScaleDelta) else None

    def forward(self, x_BTI: Tensor, output_BTO: Tensor, gates: None = None) -> Tensor:
        """Return the output (B, T, O) as each tenant's changes leave it."""
        rows = self.kept(x_BTI.device)
        for name in self.parallel:
            output_BTO = output_BTO + self._delta(name, x_BTI, rows).to(output_BTO.dtype)
        if self.has_adapter:
            output_BTO = output_BTO + _adapter(output_BTO, rows).to(output_BTO.dtype)
        return output_BTO

    def _delta(self, name: str, x_BTI: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        """Return what one change adds, (B, T or 1, O)."""
        if name == "lora":
            inner_BTK = x_BTI.to(rows["lora.lora_A"].dtype) @ rows["lora.lora_A"].mT * self.alpha
            return inner_BTK @ rows["lora.lora_B"].mT
        if self.normed is not None and name == "scale":
            scale_B1O = rows["scale.scale"].unsqueeze(1)
            return self.normed(x_BTI.to(scale_B1O.dtype)) * scale_B1O
        assert name == "bias"
        return rows["bias.bias"].unsqueeze(1)


def _adapter(y_BTO: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return `LowRankAdapterDelta` of each tenant's own, (B, T, O)."""

    def linear(part: str, x: Tensor) -> Tensor:
        left, right = rows[f"adapter.{part}.left"], rows[f"adapter.{part}.right"]
        return x @ left @ right + rows[f"adapter.{part}.bias"].unsqueeze(1)

    inner_BTM = linear("down", y_BTO.to(rows["adapter.down.left"].dtype))
    return linear("up", F.gelu(inner_BTM, approximate="tanh"))


tenant_block.register(PlaceDeltas, TenantDeltas)
