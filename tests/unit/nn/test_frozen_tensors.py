"""A method's frozen tensor is a buffer: saved and loaded, served as each tenant's own, never trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.tenant_blocks import TenantBlock, tenant_block
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Injection, Method, ParameterCount
from tests.unit.serving.decoding import check_mixed_tenants

R = 4


class HalfFrozen(nn.Module):
    """y + x A^T B^T with a random A that stays (R, I), and a trained B (O, R) that starts at zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("down", torch.randn(R, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, R))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        down: Any = self.down
        return y + x @ down.mT @ self.up.mT


class TenantHalfFrozen(TenantBlock):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        rows = self.kept(x.device)
        return y + x @ rows["down"].mT @ rows["up"].mT


tenant_block.register(HalfFrozen, TenantHalfFrozen)


@dataclass(frozen=True, kw_only=True)
class LoraFa(Method):
    def count(self, shape: BackboneShape) -> ParameterCount:
        total = sum(R * width.outputs for _, _, width in shape.each(("value",)))
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        for site in injection.sites(("value",)):
            update = injection.add(
                f"layers.{site.layer}.value", HalfFrozen(site.inputs, site.outputs)
            )
            injection.on_output(site, update)


METHOD = LoraFa(name="lora_fa", label="LoRA-FA")


def trained(backbone: Any, batch: Any, seed: int) -> AdaptedModel:
    torch.manual_seed(seed)
    adapted = AdaptedModel(backbone, METHOD)
    optimiser = torch.optim.SGD(adapted.adapter.parameters(), lr=0.1)
    adapted.train()
    for _ in range(2):
        adapted(batch)[0].backward()
        optimiser.step()
        optimiser.zero_grad()
    return adapted.eval()


def test_it_stays_while_the_rest_trains_and_is_saved(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backbone, batch = load_tiny(), make_batch()
    torch.manual_seed(1)
    start = AdaptedModel(backbone, METHOD)
    before = start.adapter_state()
    made = sum(parameter.numel() for parameter in start.adapter.parameters())
    assert made == METHOD.count(backbone.shape).trainable
    start.remove()
    adapted = trained(backbone, batch, seed=1)
    after = adapted.adapter_state()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {f"layers.{layer}.value.down" for layer in (0, 1)}
    with torch.no_grad():
        expected = adapted.answer_logits(batch)[0]
    torch.manual_seed(2)
    other = AdaptedModel(load_tiny(), METHOD).eval()
    other.load_adapter_state(after)
    with torch.no_grad():
        assert torch.equal(other.answer_logits(batch)[0], expected)


def test_a_bank_serves_each_tenants_own(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    check_mixed_tenants(
        backbone, METHOD, lambda seed: trained(backbone, make_batch(seed=seed), seed), num_beams=1
    )
