"""Every method that leaves the backbone alone, many tenants in one batch: each as with its adapter alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.serving import AdapterBank, TenantAdapter
from tests.tiny import METHOD_NAMES, build_method
from tests.unit.serving.decoding import REFUSED, make_prompts, open_bank, without_search

SERVED = sorted(set(METHOD_NAMES) - set(REFUSED))
TENANTS = ("anna", "ben", "anna", "cleo", "ben", "cleo", "anna", "ben")


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", SERVED)
def test_a_mixed_batch_gives_each_the_text_it_gets_alone(
    name: str, num_beams: int, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    prompts = make_prompts()
    options: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": 6}
    adapters, expected = {}, [""] * len(prompts)
    backbone = load_tiny()
    changes = without_search(name, backbone)
    for seed, tenant in enumerate(dict.fromkeys(TENANTS)):
        adapted = make_tenant(name, seed, backbone, **changes)
        adapters[tenant] = TenantAdapter.of(adapted)
        for row in [row for row, own in enumerate(TENANTS) if own == tenant]:
            expected[row] = generate(adapted, [prompts[row]], batch_size=1, **options)[0]
        adapted.remove()
    bank = open_bank(backbone, name, adapters, **changes)
    for batch_size in (len(TENANTS), 3):
        found = bank.generate_encoded(TENANTS, prompts, batch_size=batch_size, **options)
        assert found == expected
    for tenant in bank.tenants:
        assert expected != bank.generate_encoded(
            [tenant] * len(prompts), prompts, batch_size=len(prompts), **options
        ), "another tenant must give other texts"


@pytest.mark.parametrize("name", REFUSED)
def test_other_methods_are_refused_with_the_reason(
    name: str, load_tiny: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    reason = "tenants share one backbone"
    with pytest.raises(InjectionError, match=f"method '{name}' must .* bank, got .*({reason})"):
        AdapterBank(backbone, build_method(name))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.model.modules())


@pytest.mark.parametrize("name", SERVED)
def test_a_mixed_batch_has_the_logits_of_each_adapter_alone(
    name: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    changes = without_search(name, backbone)
    ids_BT = torch.randint(4, 35, (6, 9), generator=torch.Generator().manual_seed(0))
    mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    mask_BT[1, :4] = mask_BT[4, :2] = False  # padding on the left
    tenants = ["anna", "ben", "anna", "ben", "ben", "anna"]
    adapters, alone = {}, {}

    def logits(context: Any) -> torch.Tensor:
        with context.active(), torch.no_grad():
            made: torch.Tensor = backbone.model(ids_BT, attention_mask=mask_BT.long()).logits
        return made[:, -1]

    for seed, tenant in enumerate(("anna", "ben")):
        adapted = make_tenant(name, seed, backbone, **changes)
        adapters[tenant] = TenantAdapter.of(adapted)
        alone[tenant] = logits(adapted.context(mask_BT))
        adapted.remove()
    bank = open_bank(backbone, name, adapters, **changes)
    mixed = logits(bank.context(mask_BT, tenants))
    for row, tenant in enumerate(tenants):
        torch.testing.assert_close(mixed[row], alone[tenant][row], rtol=1e-4, atol=1e-4)
    assert (alone["anna"] - alone["ben"]).abs().amax() > 0.1


@pytest.mark.parametrize("name", ["learned_adapter", "ssp"])
def test_a_method_that_searches_must_have_found_its_structure_and_tenants_share_it(
    name: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    with pytest.raises(InjectionError, match="must have a structure to be held in a bank, got one"):
        AdapterBank(backbone, build_method(name))
    changes = without_search(name, backbone)
    other = changes | {"structure": tuple(reversed(changes["structure"][-2:]))}
    adapted = make_tenant(name, 1, backbone, **other)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(backbone, build_method(name, **changes))
    with pytest.raises(
        ConfigError,
        match="'anna' .* with another structure .*: open another bank .* method.structure",
    ):
        bank.add("anna", adapter)
