"""A tenant whose outputs are not numbers: it is refused or named, and the others are answered."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from pedro_bench.errors import InjectionError, TrainingError
from pedro_bench.protocols.head import Head
from pedro_bench.serving import AdapterBank, TenantAdapter
from pedro_bench.serving import bank as bank_module
from tests.tiny import build_method
from tests.unit.serving.decoding import make_prompts

HEAD = Head(labels=("yes", "no"))
TENANTS = ("anna", "ben", "anna", "cleo")


@pytest.fixture
def make_bank(load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]) -> Any:
    """A function that opens a bank of three tenants; the numbers of some are too great to compute with."""

    def make(great: tuple[str, ...] = (), family: str = "llama", **own: Any) -> AdapterBank:
        backbone = load_tiny(family)
        head = HEAD if family == "roberta" else None
        adapters = {}
        for seed, name in enumerate(dict.fromkeys(TENANTS)):
            adapted = make_tenant("lora", seed, backbone, head)
            adapter = TenantAdapter.of(adapted)
            adapted.remove()
            if name in great:
                tensors = {one: 1e30 * tensor for one, tensor in adapter.tensors.items()}
                adapter = replace(adapter, tensors=tensors)
            adapters[name] = adapter
        bank = AdapterBank(backbone, build_method("lora"), **own)
        for name, adapter in adapters.items():
            bank.add(name, adapter)
        return bank

    return make


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize("decoding", ["plain", "static"])
@pytest.mark.parametrize(
    ("great", "named"), [(("ben",), "tenant 'ben'"), (("ben", "cleo"), "tenants '(ben|cleo)', '")]
)
def test_the_tenant_is_named_whose_outputs_are_no_numbers(
    great: tuple[str, ...], named: str, decoding: str, num_beams: int, make_bank: Any
) -> None:
    bank = make_bank(great, decoding=decoding)
    options: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": 4, "batch_size": 4}
    prompts = make_prompts((5, 2, 9, 4))
    with pytest.raises(TrainingError, match=rf"^{named}.*: logits must be finite numbers, got NaN"):
        bank.generate_encoded(TENANTS, prompts, **options)
    with pytest.raises(TrainingError, match="^tenant 'ben': logits must be finite numbers"):
        bank.generate_encoded(["ben"] * 4, prompts, **options)
    assert len(bank.generate_encoded(["anna"] * 4, prompts, **options)) == 4


def test_the_tenant_is_named_whose_head_says_no_number(make_bank: Any) -> None:
    bank = make_bank(("ben",), family="roberta")
    prompts = make_prompts((5, 2, 9, 4))
    with pytest.raises(TrainingError, match="^tenant 'ben': a head's outputs must be finite"):
        bank.label_encoded(TENANTS, prompts, batch_size=4)
    assert len(bank.label_encoded(["cleo"] * 4, prompts, batch_size=4)) == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("family", ["llama", "roberta"])
def test_an_adapter_of_no_numbers_is_refused(
    family: str, value: float, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny(family)
    adapted = make_tenant("lora", 0, backbone, HEAD if family == "roberta" else None)
    found = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(backbone, build_method("lora"))
    for place in (next(iter(found.tensors)), list(found.tensors)[-1]):
        spoilt = found.tensors[place].clone()
        spoilt.view(-1)[-1] = value
        wrong = replace(found, tensors={**found.tensors, place: spoilt})
        with pytest.raises(
            InjectionError,
            match=rf"tenant 'dora' must bring finite numbers, got NaN or .* in '{place}'",
        ):
            bank.add("dora", wrong)
    assert bank.tenants == ()


def test_where_memory_runs_out_no_tenant_is_tried_alone(
    make_bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, calls = make_bank(), []

    def full(*given: Any, **named: Any) -> list[str]:
        calls.append(given)
        raise TrainingError("batch_size must be small enough.") from torch.OutOfMemoryError()

    monkeypatch.setattr(bank_module, "generate", full)
    with pytest.raises(TrainingError, match="^batch_size must be small"):
        bank.generate_encoded(
            TENANTS, make_prompts((5, 2, 9, 4)), num_beams=1, max_new_tokens=4, batch_size=4
        )
    assert len(calls) == 1
