"""Many tenants in one batch: every sequence as with its tenant's adapter alone."""

import difflib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import BackboneError, ConfigError, ContextError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.serving import AdapterBank, TenantAdapter
from pedro_bench.serving import bank as bank_module
from tests.tiny import build_method
from tests.unit.serving.decoding import make_prompts, open_bank


@pytest.mark.parametrize("name", ["pedro", "lora", "bitfit"])
def test_tenants_come_and_go_while_others_generate(
    name: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    """Between two decoding steps one tenant leaves, another comes; a third's name is given anew."""
    backbone = load_tiny()
    adapters = {}
    for seed, tenant in enumerate(("anna", "ben", "cleo")):
        adapted = make_tenant(name, seed, backbone)
        adapters[tenant] = TenantAdapter.of(adapted)
        adapted.remove()
    late = adapters.pop("cleo")
    bank = open_bank(backbone, name, adapters)
    tenants, prompts = ("anna", "ben", "anna"), make_prompts((5, 7, 3))
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 6, "batch_size": 2}
    expected = bank.generate_encoded(tenants, prompts, **options)
    calls = []

    def act(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            bank.remove("anna")
            bank.add("cleo", late)
            bank.remove("ben")
            bank.add("ben", late)

    handle = backbone.decoder.register_forward_hook(act)
    assert bank.generate_encoded(tenants, prompts, **options) == expected
    handle.remove()
    assert len(calls) > 3
    assert bank.tenants == ("cleo", "ben")
    with pytest.raises(ConfigError, match=r"tenant must be one of the bank's 2, got 'anna'"):
        bank.generate_encoded(tenants, prompts, **options)
    new = bank.generate_encoded(("ben", "cleo"), prompts[:2], **options)
    other = make_tenant(name, 2)
    options.pop("batch_size")
    assert new == [generate(other, [one], batch_size=1, **options)[0] for one in prompts[:2]]


@pytest.mark.parametrize("decoding", ["plain", "static"])
def test_closing_waits_for_the_batch_of_another_thread(
    decoding: str, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("pedro", 1, backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(backbone, adapter.method, decoding=decoding)
    bank.add("anna", adapter)
    prompts = make_prompts((5, 7, 3))
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 6, "batch_size": 3}
    expected = bank.generate_encoded(["anna"] * 3, prompts, **options)
    is_decoding, may_go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        is_decoding.set()
        assert may_go_on.wait(30)

    handle = backbone.decoder.register_forward_hook(hold)
    found: list[str] = []
    generating = threading.Thread(
        target=lambda: found.extend(bank.generate_encoded(["anna"] * 3, prompts, **options))
    )
    closing = threading.Thread(target=bank.close)
    generating.start()
    assert is_decoding.wait(30)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive(), "the batch is still being decoded"
    assert bank.tenants == ("anna",)
    may_go_on.set()
    generating.join(30)
    closing.join(30)
    handle.remove()
    assert found == expected
    assert bank.tenants == ()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.model.modules())


def test_a_generation_is_refused_the_batches_that_it_has_left_when_its_bank_is_closed(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("pedro", 1, backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = open_bank(backbone, "pedro", {"anna": adapter})
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 3, "batch_size": 2}
    batches: list[int] = []
    stepping = bank_module.stepping

    def before_batch(*given: Any, **settings: Any) -> Any:
        batches.append(1)
        if len(batches) == 2:
            bank.close()
        return stepping(*given, **settings)

    monkeypatch.setattr(bank_module, "stepping", before_batch)
    with pytest.raises(ContextError, match="a bank must be open to generate, got one .* closed"):
        bank.generate_encoded(["anna"] * 3, make_prompts((5, 7, 3)), **options)
    assert len(batches) == 2


def test_tenants_may_come_and_go_while_an_unknown_name_is_compared_with_theirs(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("ia3", 1, backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = open_bank(backbone, "ia3", {"anna": adapter, "ben": adapter})
    compare = difflib.get_close_matches

    def beside_another_thread(word: str, names: Any, **options: Any) -> list[str]:
        def slowly() -> Any:
            for name in names:
                bank.remove(name)
                bank.add(f"{name} {name}", adapter)
                yield name

        return compare(word, slowly(), **options)

    monkeypatch.setattr(difflib, "get_close_matches", beside_another_thread)
    with pytest.raises(ConfigError, match=r"the bank's 2, got 'ana'\. Did you mean 'anna'\?"):
        bank.remove("ana")
    assert bank.tenants == ("anna anna", "ben ben")


def test_a_thousand_pedro_tenants_on_one_backbone(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("pedro", 0, backbone)
    start = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(backbone, start.method)
    tensors_of = {}
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        tensors_of[seed] = {
            key: value + 0.2 * torch.randn(value.shape, generator=generator)
            for key, value in start.tensors.items()
        }
        bank.add(f"tenant {seed}", TenantAdapter(start.method, backbone.revision, tensors_of[seed]))
    chosen = [0, *range(991, 1000)]
    prompts = make_prompts((5,) * len(chosen))
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 4}
    found = bank.generate_encoded(
        [f"tenant {seed}" for seed in chosen], prompts, batch_size=len(chosen), **options
    )
    memory = bank.memory()
    assert memory.tenants == 1000
    count = start.method.count(backbone.shape).trainable
    assert memory.bytes_per_tenant == 4 * count
    assert memory.total_bytes == 4000 * count
    bank.close()
    adapted = AdaptedModel(backbone, start.method)
    adapted.eval()
    for seed, prompt, text in zip(chosen, prompts, found, strict=True):
        adapted.load_adapter_state(tensors_of[seed])
        assert generate(adapted, [prompt], batch_size=1, **options) == [text]


def test_tenants_kept_in_main_memory_give_the_same(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("ia3", 0, backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(backbone, adapter.method, store="cpu")
    bank.add("anna", adapter)
    assert bank.memory().device == "cpu"
    widths = sum(tensors["vector"].numel() for tensors in bank._registry.find("anna").held.values())
    assert bank.memory().bytes_per_tenant == 4 * widths, "a factored vector is kept multiplied out"
    with pytest.raises(ConfigError, match="store must be one of the known words, got 'disk'"):
        AdapterBank(backbone, adapter.method, store="disk")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["lora", "ia3", "pedro"])
def test_an_adapter_of_another_dtype_gives_the_text_it_gives_alone(
    name: str, dtype: torch.dtype, load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone, prompts = load_tiny(), make_prompts((5, 2, 9, 3))
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 6}
    adapters, expected = {}, {}
    for seed, (tenant, own) in enumerate((("anna", torch.float32), ("ben", dtype))):
        adapted = make_tenant(name, seed, backbone)
        tensors = {key: one.to(own) for key, one in adapted.adapter_state().items()}
        adapters[tenant] = TenantAdapter(adapted.method, backbone.revision, tensors)
        adapted.load_adapter_state(tensors)
        expected[tenant] = [generate(adapted, [one], batch_size=1, **options)[0] for one in prompts]
        adapted.remove()
    bank = open_bank(backbone, name, {"ben": adapters["ben"]})
    alone = bank.memory()
    assert bank.generate_encoded(["ben"] * 4, prompts, batch_size=4, **options) == expected["ben"]
    bank.add("anna", adapters["anna"])
    tenants = ["anna", "ben", "ben", "anna"]
    found = bank.generate_encoded(tenants, prompts, batch_size=4, **options)
    assert found == [expected[tenant][row] for row, tenant in enumerate(tenants)]
    bank.remove("ben")
    assert bank.memory() == alone, "bytes of one tenant are those of any"


def test_tenants_may_differ_in_what_acts_in_training_only(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone, prompts = load_tiny(), make_prompts((5, 2, 9, 3))
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 6}
    adapters, expected = {}, []
    for seed, dropout in enumerate((0.0, 0.5)):
        adapted = make_tenant("lora", seed, backbone, dropout=dropout, lr=0.1 + seed)
        adapters[f"dropout {dropout}"] = TenantAdapter.of(adapted)
        rows = prompts[2 * seed : 2 * seed + 2]
        expected += [generate(adapted, [one], batch_size=1, **options)[0] for one in rows]
        adapted.remove()
    bank = open_bank(backbone, "lora", adapters)
    tenants = [tenant for tenant in bank.tenants for _ in range(2)]
    assert bank.generate_encoded(tenants, prompts, batch_size=4, **options) == expected
    tensors = adapters["dropout 0.0"].tensors
    method = build_method("lora", dropout=0.5, alpha=3.0)
    with pytest.raises(ConfigError, match=r"got 'lora' with alpha=3\.0 where the bank has"):
        bank.add("other", TenantAdapter(method, backbone.revision, tensors))


def test_wrong_uses_are_refused(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backbone = load_tiny()
    adapted = make_tenant("pedro", 0, backbone)
    adapter = TenantAdapter.of(adapted)
    with pytest.raises(InjectionError, match="one method at a time, got 'pedro' on top of 'pedro'"):
        AdapterBank(backbone, adapter.method)
    adapted.remove()
    bank = AdapterBank(backbone, adapter.method)
    bank.add("anna", adapter)
    with pytest.raises(ConfigError, match=r"got 'ana'\. Did you mean 'anna'\?"):
        bank.remove("ana")
    with pytest.raises(ConfigError, match="tenant must be a new name, got 'anna'"):
        bank.add("anna", adapter)
    with pytest.raises(ConfigError, match="tenant must be a text, not empty, got ''"):
        bank.add("", adapter)
    elsewhere = TenantAdapter(adapter.method, "sha256:other", adapter.tensors)
    with pytest.raises(
        BackboneError, match="'ben' must have been trained on .* got an adapter of sha"
    ):
        bank.add("ben", elsewhere)
    other = TenantAdapter(build_method("pedro_1"), backbone.revision, adapter.tensors)
    with pytest.raises(ConfigError, match="got 'pedro_1' with pooling='mean' where .* 'last'"):
        bank.add("ben", other)
    tensors = dict(adapter.tensors)
    tensors["layers.0.generator.down"] = tensors["layers.0.generator.down"][1:]
    short = TenantAdapter(adapter.method, backbone.revision, tensors)
    with pytest.raises(
        InjectionError, match=r"difference in 'layers.0.generator.down' .* code changed"
    ):
        bank.add("ben", short)
    with pytest.raises(ConfigError, match="one for each of the 3 examples, got 1"):
        bank.context(make_batch().prompt_mask_BT, ["anna"])
    with pytest.raises(ContextError, match="must be called within its bank's context"):
        bank._adapted(make_batch())
    assert bank.tenants == ("anna",)


def test_the_callers_random_stream_is_left_alone(load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny()
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    AdapterBank(backbone, build_method("lora"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("number", [1, 3])
def test_prompts_of_token_ids_have_a_tenant_each(
    number: int, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant("lora", 0, tiny_backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = open_bank(tiny_backbone, "lora", {"anna": adapter})
    with pytest.raises(ConfigError, match=f"one for each of the 2 examples, got {number}"):
        bank.generate_encoded(
            ["anna"] * number, make_prompts((3, 4)), num_beams=1, max_new_tokens=2, batch_size=2
        )
