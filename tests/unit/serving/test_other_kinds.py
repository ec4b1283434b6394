"""Tenants on encoders and encoder-decoders: every text as with its tenant's adapter alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pedro_bench.data.prompt import parse_template
from pedro_bench.errors import BackboneError, ConfigError, DataError, InjectionError
from pedro_bench.evaluation.labelling import label
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import Head
from pedro_bench.serving import AdapterBank, TenantAdapter
from tests.tiny import METHOD_NAMES, build_method
from tests.unit.serving.decoding import REFUSED, check_mixed_tenants, make_prompts, without_search

ON_T5 = sorted(
    set(METHOD_NAMES)
    - {*REFUSED, "ptuning_v2", "lpt", "prefix_tuning", "prompt_tuning", "infix_tuning", "loreft"}
)
ON_ENCODERS = sorted(set(METHOD_NAMES) - {*REFUSED, "infix_tuning"})
HEADS = (Head(labels=("yes", "no", "maybe")), Head(labels=("good", "bad")), Head(least=0, most=5))
TEMPLATE = parse_template("task.prompt", "Text: {text}\nLabel:", None)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", ON_T5)
def test_an_encoder_decoder_answers_each_as_its_own(
    name: str, num_beams: int, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny("t5")
    changes = without_search(name, backbone)
    check_mixed_tenants(
        backbone,
        build_method(name, **changes),
        lambda seed: make_tenant(name, seed, backbone, **changes),
        num_beams=num_beams,
    )


def tenant_of(adapted: AdaptedModel) -> TenantAdapter:
    """Take the adapter out of the backbone, with the template of its task."""
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    return replace(adapter, templates=(TEMPLATE,))


@pytest.mark.parametrize("family", ["roberta", "bert"])
@pytest.mark.parametrize("name", ON_ENCODERS)
def test_an_encoder_labels_each_as_its_own(
    name: str, family: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone, prompts = load_tiny(family), make_prompts()
    changes = without_search(name, backbone)
    names = ("anna", "ben", "cleo")
    adapters, alone = {}, {}
    for seed, (tenant, head) in enumerate(zip(names, HEADS, strict=True)):
        adapted = make_tenant(name, seed, backbone, head, **changes)
        alone[tenant] = label(adapted, prompts, batch_size=1)
        adapters[tenant] = tenant_of(adapted)
    bank = AdapterBank(backbone, build_method(name, **changes))
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    tenants = [names[row % 3] for row in range(len(prompts))]
    for batch_size in (len(prompts), 3):
        found = bank.label_encoded(tenants, prompts, batch_size=batch_size)
        for row, tenant in enumerate(tenants):
            expected = alone[tenant][row]
            if tenant == "cleo":
                assert float(found[row]) == pytest.approx(float(expected), abs=1e-4)
            else:
                assert found[row] == expected
    bank.close()


@pytest.mark.parametrize("store", ["backbone", "cpu"])
def test_texts_are_labelled_by_requests_of_tenants_with_other_labels(
    store: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny("roberta")
    adapters, sizes = {}, []
    for seed, (tenant, head) in enumerate(zip(("anna", "ben"), HEADS, strict=False)):
        adapted = make_tenant("pedro", seed, backbone, head)
        sizes.append(4 * sum(p.numel() for p in adapted.adapter.parameters()))
        adapters[tenant] = tenant_of(adapted)
    bank = AdapterBank(backbone, build_method("pedro"), store=store, max_length=24)
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    texts = ["the cat sat on the mat", "who lives in Oslo", "a dog"]
    found = bank.label([("anna", texts[0]), ("ben", texts[0]), ("anna", (texts[2],))])
    assert found[0] in HEADS[0].labels and found[1] in HEADS[1].labels
    assert found[2] in HEADS[0].labels
    memory = bank.memory()
    assert (memory.bytes_per_tenant, memory.total_bytes) == (max(sizes), sum(sizes))
    assert sizes[0] > sizes[1], "one label more"
    with pytest.raises(
        ConfigError, match=r"requests\[0\] must be a pair \(tenant, texts\), got 'an"
    ):
        bank.label(["anna"])  # type: ignore[list-item]
    with pytest.raises(
        ConfigError, match=r"requests\[0\] must be a text \(text\), got \('a', 'b'\)"
    ):
        bank.label([("anna", ("a", "b"))])
    with pytest.raises(ConfigError, match="one of the bank's 2, got 'anne'"):
        bank.label([("anne", "a")])
    with pytest.raises(DataError, match=r"requests\[1\] must fit into 24 tokens, got"):
        bank.label([("anna", "a"), ("ben", "cat " * 40)])
    with pytest.raises(DataError, match=r"requests\[0\] must be text that UTF-8 can encode, got"):
        bank.label([("anna", "half a pair \ud800")])
    long = Encoded((5,) * 1000, (), 0)
    with pytest.raises(DataError, match="got 1000 tokens: shorten the text.$"):
        bank.label_encoded(["anna"], [long], batch_size=1)
    for tenants in (["anna"], ["anna"] * 3):
        with pytest.raises(ConfigError, match="one for each of the 2 examples, got [13]"):
            bank.label_encoded(tenants, make_prompts((3, 4)), batch_size=2)
    for size in (0, -1, 2.0, True):
        rule = "^batch_size must be a whole number of at least 1, got"
        with pytest.raises(ConfigError, match=rule):
            bank.label([("anna", "a")], batch_size=size)  # type: ignore[arg-type]
        for names, rows in (([], ()), (["anna"], make_prompts((3,)))):
            with pytest.raises(ConfigError, match=rule):
                bank.label_encoded(names, rows, batch_size=size)  # type: ignore[arg-type]
    assert bank.label([]) == []
    with pytest.raises(BackboneError, match="where text is written, got the encoder"):
        bank.generate([("anna", "the cat")])


def test_a_tenant_of_an_encoder_needs_its_head_and_its_template(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny("roberta")
    headless = tenant_of(make_tenant("lora", 0, backbone, None))
    with_head = make_tenant("lora", 0, backbone, HEADS[0])
    bare = TenantAdapter.of(with_head)
    with_head.remove()
    bank = AdapterBank(backbone, build_method("lora"))
    with pytest.raises(InjectionError, match="'anna' must bring a trained head to the encoder"):
        bank.add("anna", headless)
    wrong = TenantAdapter(bare.method, bare.backbone_revision, bare.tensors, head=HEADS[1])
    with pytest.raises(InjectionError, match=r"got a difference in 'head.out_proj.(bias|weight)'"):
        bank.add("anna", wrong)
    bank.add("anna", bare)
    with pytest.raises(
        ConfigError, match="tenant 'anna' must know its task's prompt to label texts"
    ):
        bank.label([("anna", "a")])
    decoder = load_tiny("llama")
    bank = AdapterBank(decoder, build_method("lora"))
    with pytest.raises(BackboneError, match="label must be asked of a bank on an encoder"):
        bank.label([])
