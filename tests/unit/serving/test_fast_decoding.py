"""Static and compiled steps give the tokens of the plain path, alone and mixed, and compile once."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from pedro_bench.errors import ConfigError, InjectionError, TrainingError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.serving import AdapterBank, FastDecoder, TenantAdapter
from pedro_bench.serving.static_step import Prefill, StaticStep
from pedro_bench.serving.step_shapes import rounded_slots
from tests.tiny import METHOD_NAMES, build_method
from tests.unit.serving.decoding import (
    LENGTHS,
    CountingBackend,
    answers,
    make_prompts,
    without_search,
)

UNSUITED = ("infix_tuning", "loreft")
ONE_OF_EACH_BLOCK = (
    *("pedro", "lora", "bitfit", "dora", "road", "houlsby_adapter", "learned_adapter", "adalora"),
    *("ssp", "prompt_tuning", "prefix_tuning", "ptuning_v2", "lpt"),
)
TENANTS = ("anna", "ben", "anna", "cleo", "ben", "cleo", "anna", "ben")


@pytest.mark.parametrize("name", sorted(set(METHOD_NAMES) - set(UNSUITED)))
def test_static_steps_give_the_tokens_of_the_plain_path(
    name: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant(name, 1, tiny_backbone)
    decoder = FastDecoder(tiny_backbone, "static")
    for beams in (1, 3):
        expected = answers(adapted, None, beams)
        assert len(set(expected)) > 1
        assert answers(adapted, decoder, beams) == expected
        assert answers(adapted, decoder, beams, batch_size=1) == expected, "without any padding"
    assert "forward" not in vars(tiny_backbone.model)


@pytest.mark.parametrize("decoding", ["static", "compiled"])
@pytest.mark.parametrize("name", ["pedro", "prefix_tuning"])
def test_rows_that_end_early_change_nothing(
    name: str, decoding: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant(name, 1, tiny_backbone)
    options: dict[str, Any] = {"max_new_tokens": 8}
    words = [text.split() for text in answers(adapted, None, 1, batch_size=8, **options)]
    options["stop"] = sorted({own[row % 3] for row, own in enumerate(words) if len(own) > 2})[:3]
    expected = answers(adapted, None, 1, batch_size=1, **options)
    assert len({len(text.split()) for text in expected}) > 2
    decoder = FastDecoder(tiny_backbone, decoding, backend=CountingBackend())
    assert answers(adapted, decoder, 1, batch_size=8, **options) == expected


def test_another_family_takes_static_steps(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny("gemma")
    adapted = make_tenant("pedro", 1, backbone)
    assert answers(adapted, FastDecoder(backbone, "static"), 3) == answers(adapted, None, 3)


@pytest.mark.parametrize("name", UNSUITED)
def test_a_method_whose_steps_look_at_the_prompt_is_refused(
    name: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant(name, 1, tiny_backbone)
    with pytest.raises(InjectionError, match="decoding must be plain .* got one that reads 'num_c"):
        answers(adapted, FastDecoder(tiny_backbone, "static"), 1)
    assert answers(adapted, None, 1), "the model's own forward is back"


@pytest.mark.parametrize("name", ["pedro", "lora", "ia3"])
def test_compiled_steps_are_compiled_once_and_give_the_same_tokens(
    name: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, "compiled", least_slots=32, backend=backend)
    for seed in (1, 2):  # another adapter of the method: the same graph, other weights
        adapted = make_tenant(name, seed, tiny_backbone)
        for prompts in (make_prompts(), make_prompts((3, 20, 11, 2), seed=seed)):
            options = {"prompts": prompts, "batch_size": 4}
            expected = answers(adapted, None, 1, **options)
            assert answers(adapted, decoder, 1, **options) == expected
        adapted.remove()
    assert backend.num_graphs == 1, "batches of prompts of other lengths have the same shape"


def test_beams_are_compiled_too(tiny_backbone: Any, make_tenant: Callable[..., Any]) -> None:
    adapted = make_tenant("pedro", 1, tiny_backbone)
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, "compiled", backend=backend)
    assert answers(adapted, decoder, 3, batch_size=4) == answers(adapted, None, 3, batch_size=4)
    assert backend.num_graphs == 1


@pytest.mark.parametrize(
    ("name", "decoding"),
    [
        *((name, "static") for name in ONE_OF_EACH_BLOCK),
        *((name, "compiled") for name in ("pedro", "lora", "bitfit", "lpt", "ssp")),
    ],
)
def test_mixed_tenants_get_the_text_they_get_alone(
    name: str,
    decoding: str,
    tiny_backbone: Any,
    make_tenant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts, expected = make_prompts(), [""] * len(LENGTHS)
    changes = without_search(name, tiny_backbone)
    adapters = {}
    for seed, tenant in enumerate(dict.fromkeys(TENANTS)):
        adapted = make_tenant(name, seed, tiny_backbone, **changes)
        adapters[tenant] = TenantAdapter.of(adapted)
        for row in [row for row, own in enumerate(TENANTS) if own == tenant]:
            expected[row] = answers(adapted, None, 1, prompts=[prompts[row]])[0]
        adapted.remove()
    bank = AdapterBank(tiny_backbone, build_method(name, **changes), decoding=decoding)
    backend = CountingBackend()
    monkeypatch.setattr(bank._decoder, "_backend", backend)
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 6}
    for size in (8, 4):
        assert bank.generate_encoded(TENANTS, prompts, batch_size=size, **options) == expected
    one = bank.generate_encoded(["ben"] * 8, prompts, batch_size=8, **options)
    assert [one[row] for row in (1, 4, 7)] == [expected[row] for row in (1, 4, 7)]
    assert backend.num_graphs == (1 if decoding == "compiled" else 0), "four fit where eight did"


@pytest.mark.slow
def test_the_default_compiler_gives_the_same_tokens(
    tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant("pedro", 1, tiny_backbone)
    decoder = FastDecoder(tiny_backbone, "compiled")
    options: dict[str, Any] = {"batch_size": 8, "max_new_tokens": 12}
    assert answers(adapted, decoder, 1, **options) == answers(adapted, None, 1, **options)


def test_a_step_leaves_no_trace_in_the_model(
    tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    before = tiny_backbone.fingerprint()
    adapted = make_tenant("pedro", 1, tiny_backbone)
    answers(adapted, FastDecoder(tiny_backbone, "compiled", backend=CountingBackend()), 1)
    adapted.remove()
    assert tiny_backbone.fingerprint() == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_backbone.model.modules())


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["pedro", "lora"])
def test_what_prompts_left_is_gone_before_the_first_step(
    name: str,
    beams: int,
    tiny_backbone: Any,
    make_tenant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their cache, and what the method made of them, are copied; nobody may hold both for a generation."""
    adapted = make_tenant(name, 1, tiny_backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    bank = AdapterBank(tiny_backbone, adapter.method, decoding="static")
    for tenant in ("anna", "ben"):
        bank.add(tenant, adapter)
    load, step = StaticStep.load, StaticStep.__call__
    left: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []

    def watched_load(self: StaticStep, prefill: Prefill) -> None:
        cached = tree_leaves(prefill.layers)
        whole = [tensor if tensor._base is None else tensor._base for tensor in cached]
        left[:] = [weakref.ref(tensor) for tensor in (*whole, *tree_leaves(prefill.state))]
        load(self, prefill)

    def watched_step(self: StaticStep, tokens_B1: torch.Tensor) -> torch.Tensor:
        held.append(sum(one() is not None for one in left))
        return step(self, tokens_B1)

    monkeypatch.setattr(StaticStep, "load", watched_load)
    monkeypatch.setattr(StaticStep, "__call__", watched_step)
    bank.generate_encoded(
        ["anna", "ben"] * 2,
        make_prompts((5, 2, 9, 3)),
        num_beams=beams,
        max_new_tokens=4,
        batch_size=4,
    )
    assert len(left) > 2 * tiny_backbone.shape.num_layers
    assert held == [0, 0, 0]


def test_a_shape_whose_step_does_not_fit_into_memory_is_not_kept_for_smaller_batches(
    tiny_backbone: Any, make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = make_tenant("pedro", 1, tiny_backbone)
    decoder = FastDecoder(tiny_backbone, "static")
    shapes = []

    def record(step: Any, device: torch.device) -> Any:
        shapes.extend(decoder.shapes.kept)
        if shapes == [(8, 64)]:
            raise torch.OutOfMemoryError("Tried to allocate 9 GiB")
        return step

    monkeypatch.setattr("pedro_bench.serving.fast_decoding.recorded", record)
    with pytest.raises(TrainingError, match="batch_size .* got 8: set it to 4"):
        answers(adapted, decoder, 1, batch_size=8)
    assert answers(adapted, decoder, 1, batch_size=4) == answers(adapted, None, 1, batch_size=4)
    assert shapes == [(8, 64), (4, 64)]


@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_a_batch_that_gave_no_numbers_leaves_none_to_the_next(
    decoding: str,
    tiny_backbone: Any,
    make_tenant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slot that is masked counts zero times what it holds, which is NaN where that is NaN."""
    adapters = {}
    for tenant in ("anna", "diverged"):
        adapted = make_tenant("lora", 1, tiny_backbone)
        expected = answers(adapted, None, 1, prompts=make_prompts((3, 2)))
        adapters[tenant] = TenantAdapter.of(adapted)
        adapted.remove()
    for tensor in adapters["diverged"].tensors.values():
        tensor.mul_(1e30)  # finite numbers, whose products are not
    bank = AdapterBank(tiny_backbone, build_method("lora"), decoding=decoding)
    monkeypatch.setattr(bank._decoder, "_backend", CountingBackend())
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 6, "batch_size": 2}
    with pytest.raises(TrainingError, match="must be finite numbers"):
        bank.generate_encoded(["anna", "diverged"], make_prompts((9, 8)), **options)
    for tenants in (["anna", "anna"], ["anna"]):
        prompts = make_prompts((3, 2))[: len(tenants)]
        assert bank.generate_encoded(tenants, prompts, **options) == expected[: len(tenants)]


def test_what_cannot_be_is_refused(
    tiny_backbone: Any, make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="decoding must be one of the known words, got 'plain'"):
        FastDecoder(tiny_backbone, "plain")
    with pytest.raises(ConfigError, match="got 'compild'. Did you mean 'compiled'"):
        AdapterBank(tiny_backbone, build_method("pedro"), decoding="compild")
    adapted = AdaptedModel(tiny_backbone, build_method("lora"))
    monkeypatch.setattr(tiny_backbone.model.config, "sliding_window", 17, raising=False)
    with pytest.raises(ConfigError, match="sliding window of 17 tokens .* got 'static' with 18"):
        answers(adapted, FastDecoder(tiny_backbone, "static"), 1)  # 12 tokens and 6 more


def test_a_window_that_holds_the_sequences_may_be_shorter_than_the_cache(
    tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_backbone.model.config, "sliding_window", 18, raising=False)
    adapted = AdaptedModel(tiny_backbone, build_method("lora"))
    assert rounded_slots(18) > 18
    found = answers(adapted, FastDecoder(tiny_backbone, "static"), 1)
    assert found == answers(adapted, None, 1)


def test_biases_of_the_attention_are_refused(load_tiny: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="positions are a bias of the attention .ALiBi., as in"):
        FastDecoder(load_tiny("falcon_alibi"), "static")


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_batches_of_all_sizes_get_the_tokens_of_the_plain_path(
    decoding: str, beams: int, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    """Smaller batches in a larger shape, larger ones after smaller, and long prompts in between."""
    adapted = make_tenant("pedro", 1, tiny_backbone)
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, decoding, backend=backend)
    long = make_prompts((70, 3), seed=5)
    for prompts, batch_size in (
        (make_prompts(), 8),
        (make_prompts(), 3),
        (make_prompts((4, 9)), 1),
        (long, 2),
        (make_prompts((60, 50, 8, 2, 2)), 2),
        (make_prompts(seed=2), 8),
    ):
        options = {"prompts": prompts, "batch_size": batch_size}
        expected = answers(adapted, None, beams, **options)
        assert answers(adapted, decoder, beams, **options) == expected
    slots = [slots for _, slots in decoder.shapes.kept]
    assert len(slots) <= 2
    assert backend.num_graphs == decoder.shapes.num_compiled
    if decoding == "compiled":
        assert 1 <= backend.num_graphs <= 3


@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_buffers_that_are_given_back_are_gone_at_once_and_not_compiled_again(
    decoding: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant("lora", 1, tiny_backbone)
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, decoding, backend=backend)
    expected = answers(adapted, decoder, 1, batch_size=8)
    step = decoder.shapes._shapes[0].step
    assert step is not None
    gone = [weakref.ref(step), *map(weakref.ref, step.tensors())]
    del step
    decoder.shapes.release()
    assert [one() for one in gone] == [None] * len(gone), "a cycle would wait for the collector"
    assert decoder.shapes.kept == []
    assert answers(adapted, decoder, 1, batch_size=8) == expected
    assert backend.num_graphs == (1 if decoding == "compiled" else 0)
