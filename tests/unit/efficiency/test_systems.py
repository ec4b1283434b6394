"""Systems act, hold nothing but what they act with, and leave the backbone as it was."""

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from pedro_bench import records
from pedro_bench.efficiency import systems
from pedro_bench.efficiency.compare import Comparison, compare
from tests.tiny import build_method

IDS_BT = torch.tensor([[5, 6, 7], [8, 9, 10]])


def logits_of(system: AbstractContextManager[Any]) -> torch.Tensor:
    """Return the first logits of a system, (B, V)."""
    settings = GenerationConfig(
        num_beams=1,
        max_new_tokens=2,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with system as generate:
        mask_BT = torch.ones_like(IDS_BT).bool()
        made: Any = generate(mask_BT, input_ids=IDS_BT, generation_config=settings)
    logits_BV: torch.Tensor = made.logits[0]
    return logits_BV


@pytest.mark.parametrize("name", ["adapted", "bank", "peer", "merged"])
def test_a_system_acts_and_leaves_the_backbone_as_it_was(
    name: str, load_tiny: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    before, stream = backbone.fingerprint(), torch.get_rng_state()
    tenants = (2,) if name in ("bank", "peer") else ()
    made = getattr(systems, name)
    plain = logits_of(systems.bare(backbone))
    changed = logits_of(made(backbone, build_method("lora"), *tenants, seed=0))
    after = logits_of(systems.bare(backbone))
    assert not torch.allclose(plain, changed, atol=1e-6)
    assert torch.equal(plain, after)
    assert backbone.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), stream)
    assert not any(p.requires_grad for p in backbone.model.parameters())


@pytest.mark.parametrize("name", ["learned_adapter", "ssp"])
def test_what_searches_is_measured_with_a_structure_that_is_found(
    name: str, load_tiny: Callable[..., Any]
) -> None:
    backbone, method = load_tiny(), build_method(name)
    with systems.adapted(backbone, method, 0) as generate:
        own = {type(module).__name__ for module in generate.modules}
    assert own & {"LearnedAdapter", "PlaceDeltas"} and not own & {"Choice", "BudgetGates"}
    with systems.bank(backbone, method, 2, 0) as generate:
        largest = method.count(backbone.shape).trainable * 4
        assert generate.bytes_per_tenant is not None
        assert 0 < generate.bytes_per_tenant <= largest


def test_a_peer_that_was_not_made_to_its_end_leaves_the_backbone_as_it_was(
    load_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    backbone = load_tiny()
    before = backbone.fingerprint()
    modules = dict(backbone.model.named_modules())
    plain, made = peft.tuners.lora.layer.Linear.__init__, []

    def short(*given: Any, **options: Any) -> None:
        made.append(1)
        if len(made) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(*given, **options)

    monkeypatch.setattr(peft.tuners.lora.layer.Linear, "__init__", short)
    with (
        pytest.raises(torch.OutOfMemoryError),
        systems.peer(backbone, build_method("lora"), 2, seed=0),
    ):
        pass
    after = dict(backbone.model.named_modules())
    assert list(after) == list(modules)
    assert all(after[path] is module for path, module in modules.items())
    assert backbone.fingerprint() == before


@pytest.mark.parametrize("name", ["lora", "adalora"])
def test_a_merged_adapter_says_what_it_says_beside_the_weights(
    name: str, load_tiny: Callable[..., Any]
) -> None:
    backbone, method = load_tiny(), build_method(name)
    beside = logits_of(systems.adapted(backbone, method, seed=3))
    within = logits_of(systems.merged(backbone, method, seed=3))
    torch.testing.assert_close(within, beside, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(within, logits_of(systems.bare(backbone)), atol=1e-3)
    with systems.merged(backbone, method, seed=3):
        projections = [site.module for role in method.roles for site in backbone.sites(role)]
        assert not any(module._forward_hooks for module in projections), "no step sees it"


def test_merging_that_fails_midway_leaves_the_backbone_as_it_was(
    load_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, plain, made = load_tiny(), systems.update_of, []
    before = backbone.fingerprint()

    def short(*given: Any) -> torch.Tensor:
        made.append(1)
        if len(made) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*given)

    monkeypatch.setattr(systems, "update_of", short)
    with (
        pytest.raises(torch.OutOfMemoryError),
        systems.merged(backbone, build_method("lora"), seed=0),
    ):
        pass
    assert len(made) == 3
    assert backbone.fingerprint() == before


def test_what_is_merged_is_told_apart(make_comparison: Callable[..., Comparison]) -> None:
    told: list[str] = []
    comparison = make_comparison(
        methods=["none", "lora", "pedro"], beams=[1], repeats=1, merged=True
    )
    found = compare(comparison, told.append)
    assert [(row["method"], row["merged"]) for row in found["rows"]] == [
        ("none", False),
        ("lora", False),
        ("pedro", False),
        ("lora", True),
    ]
    assert "lora, merged, plain" in told[3]
    beside, within = records.read(found["records"][1]), records.read(found["records"][3])
    assert (beside.task, within.task) == ("generate_beam1", "generate_beam1_merged")
    assert within.config["task"]["label"] == "Beam 1, merged"


def test_a_bank_holds_its_tenants_and_nothing_else(
    load_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands beside it on the device would be charged to the tenants."""
    drawn: list[weakref.ref[torch.Tensor]] = []
    templates: list[weakref.ref[torch.Tensor]] = []
    noisy, adapted_model = systems._noisy, systems.AdaptedModel

    def watched_noisy(tensor: torch.Tensor) -> torch.Tensor:
        made = noisy(tensor)
        drawn.append(weakref.ref(made))
        return made

    def watched_model(*given: Any) -> Any:
        made = adapted_model(*given)
        templates.extend(weakref.ref(one) for one in made.adapter.parameters())
        return made

    monkeypatch.setattr(systems, "_noisy", watched_noisy)
    monkeypatch.setattr(systems, "AdaptedModel", watched_model)
    method = build_method("pedro")
    with systems.bank(load_tiny(), method, 3, seed=0) as generate:
        gc.collect()
        assert len(drawn) > len(templates) > 0
        assert not [one for one in (*drawn, *templates) if one() is not None]
        backbone_shape = load_tiny().shape
        assert generate.bytes_per_tenant == 4 * method.count(backbone_shape).trainable


def test_what_a_tenant_takes_is_told(make_comparison: Callable[..., Comparison]) -> None:
    comparison = make_comparison(methods=["ia3"], beams=[1], tenants=[2], repeats=1)
    found = compare(comparison, lambda _: None)
    size = [row["bytes_per_tenant"] for row in found["rows"]]
    assert size[:2] == [None, None], "one adapter is no bank"
    assert size[2] > 0
    told = f"Each tenant of ia3 takes {size[2] / 2**20:.2f} MiB beside the backbone."
    assert told in found["notes"]
