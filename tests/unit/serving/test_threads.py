"""Threads that share a model take turns, and each gets the text it gets alone."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

import pedro_bench
from pedro_bench.data.encoding import encode_whole
from pedro_bench.data.prompt import PromptTemplate
from pedro_bench.errors import ConfigError, ContextError
from pedro_bench.serving import AdapterBank, FastDecoder, TenantAdapter
from pedro_bench.serving import validation as admission_module
from tests.unit.serving.decoding import answers, make_prompts

PATIENCE = 30
PROMPTS = ["the cat sat on the mat", "who lives in Oslo", "a dog"]


class Worker(threading.Thread):
    """A thread that keeps what its action returns."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__()
        self._action = action
        self.found: Any = None

    def run(self) -> None:
        self.found = self._action()


def beside(decoder: Any, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Run `second` in a thread of its own while `first` is at its second forward; return what both gave."""
    is_within, may_go_on = threading.Event(), threading.Event()
    ahead = Worker(first)
    calls: list[int] = []

    def hold(*_: Any) -> None:
        if threading.current_thread() is ahead:
            calls.append(1)
            if len(calls) == 2:
                is_within.set()
                assert may_go_on.wait(PATIENCE)

    handle = decoder.register_forward_hook(hold)
    behind = Worker(second)
    ahead.start()
    assert is_within.wait(PATIENCE)
    behind.start()
    behind.join(0.3)
    assert behind.is_alive(), "the first has the turn"
    may_go_on.set()
    for thread in (ahead, behind):
        thread.join(PATIENCE)
    handle.remove()
    return ahead.found, behind.found


@pytest.mark.parametrize("decodings", [("static",), ("static", "compiled")])
def test_two_threads_of_one_model_take_static_steps_one_after_another(
    decodings: tuple[str, ...], tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    """With one decoder, or one of its own for each: the model's forward is one for both."""
    adapted = make_tenant("pedro", 1, tiny_backbone)
    decoders = [
        FastDecoder(tiny_backbone, one, backend=lambda graph, _: graph.forward) for one in decodings
    ]
    sets = [make_prompts(seed=0), make_prompts((3, 8, 2, 6), seed=1)]
    options: dict[str, Any] = {"batch_size": 4, "max_new_tokens": 8}
    expected = [answers(adapted, None, 1, prompts=prompts, **options) for prompts in sets]
    assert expected[0] != expected[1]
    found = beside(
        tiny_backbone.decoder,
        lambda: answers(adapted, decoders[0], 1, prompts=sets[0], **options),
        lambda: answers(adapted, decoders[-1], 1, prompts=sets[1], **options),
    )
    assert list(found) == expected
    assert "forward" not in vars(tiny_backbone.model)


@pytest.mark.parametrize("decoding", ["plain", "static"])
def test_two_threads_share_a_loaded_run(decoding: str, save_run: Callable[..., Path]) -> None:
    run = pedro_bench.load(save_run("pedro", 0), device="cpu", decoding=decoding)
    alone = pedro_bench.load(save_run("pedro", 0), device="cpu")
    expected = [alone.generate([prompt], max_new_tokens=6)[0] for prompt in PROMPTS]
    model = run.adapted.backbone.model
    shipped = GenerationConfig(repetition_penalty=5.0)
    model.generation_config = shipped
    pairs = [(prompt, "yes") for prompt in PROMPTS]
    found = beside(
        run.adapted.backbone.decoder,
        lambda: run.generate(PROMPTS, max_new_tokens=6, batch_size=1),
        lambda: (run.generate(PROMPTS[::-1], max_new_tokens=6), run.loglikelihood(pairs)),
    )
    assert found == (expected, (expected[::-1], alone.loglikelihood(pairs)))
    assert model.generation_config is shipped, "a checkpoint's own settings are back"


def test_a_generation_within_static_steps_is_refused_and_leaves_them_as_they_are(
    tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant("pedro", 1, tiny_backbone)
    decoder = FastDecoder(tiny_backbone, "static")
    expected = answers(adapted, None, 1)
    refused: list[str] = []

    def again(*_: Any) -> None:
        handle.remove()
        with pytest.raises(ContextError, match="must end its turn .* got a call from within") as no:
            answers(adapted, decoder, 1)
        refused.append(str(no.value))

    handle = tiny_backbone.decoder.register_forward_hook(again)
    assert answers(adapted, decoder, 1) == expected
    assert len(refused) == 1


def test_a_bank_that_is_called_from_within_its_own_batch_refuses_instead_of_waiting(
    tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    bank.add("anna", adapter)
    requests = [("anna", "a dog")]
    expected = bank.generate(requests, num_beams=1, max_new_tokens=3)
    refused: list[type] = []

    def within(*_: Any) -> None:
        for call in (lambda: bank.generate(requests), bank.close):
            try:
                call()
            except ContextError as error:
                refused.append(type(error))

    handle = tiny_backbone.decoder.register_forward_hook(within)
    worker = Worker(lambda: bank.generate(requests, num_beams=1, max_new_tokens=3))
    worker.daemon = True  # without the refusal it would wait for itself
    worker.start()
    worker.join(PATIENCE)
    handle.remove()
    assert worker.found == expected
    assert refused == [ContextError] * 2 * 3


def open_bank(backbone: Any, make_tenant: Callable[..., Any]) -> tuple[AdapterBank, TenantAdapter]:
    adapted = make_tenant("ia3", 1, backbone)
    adapter = TenantAdapter.of(adapted)
    adapted.remove()
    return AdapterBank(backbone, adapter.method), adapter


@pytest.fixture
def before_entry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that lets something happen while a bank copies a tenant's tensors."""

    def let(action: Callable[[], Any]) -> None:
        copy = admission_module.held_of

        def slowly(*given: Any) -> Any:
            monkeypatch.setattr("pedro_bench.serving.bank.held_of", copy)
            action()
            return copy(*given)

        monkeypatch.setattr("pedro_bench.serving.bank.held_of", slowly)

    return let


def test_of_two_that_add_one_name_at_once_the_later_is_refused(
    tiny_backbone: Any, make_tenant: Callable[..., Any], before_entry: Callable[..., None]
) -> None:
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    before_entry(lambda: bank.add("anna", adapter))
    with pytest.raises(ConfigError, match="tenant must be a new name, got 'anna'"):
        bank.add("anna", adapter)
    assert bank.tenants == ("anna",)


def test_a_closed_bank_takes_nobody_in(
    tiny_backbone: Any, make_tenant: Callable[..., Any], before_entry: Callable[..., None]
) -> None:
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    before_entry(bank.close)
    for _ in ("closed while its tensors are copied", "closed before"):
        with pytest.raises(ContextError, match="must be open to take a tenant in, got .* closed"):
            bank.add("anna", adapter)
    assert bank.tenants == ()
    for call in (lambda: bank.remove("anna"), lambda: bank.generate([("anna", "a dog")])):
        with pytest.raises(ContextError, match="must be open to serve a tenant, got .* closed"):
            call()


TEMPLATE = PromptTemplate((("</s> ", "text"), (" </s> :", None)), None)
REQUESTS = [("anna", "</s> a dog </s> :")]
SHORT: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 4}


@pytest.fixture
def control_tokens(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many control tokens each prompt holds that banks encode."""
    counts: list[int] = []

    def watched(*given: Any, **options: Any) -> Any:
        encoded = encode_whole(*given, **options)
        counts.extend(one.prompt_ids.count(2) for one in encoded)
        return encoded

    monkeypatch.setattr("pedro_bench.serving.requests.encode_whole", watched)
    return counts


def test_a_tenant_has_its_templates_as_soon_as_it_is_entered(
    tiny_backbone: Any, make_tenant: Callable[..., Any], control_tokens: list[int]
) -> None:
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    enter = bank._registry.enter

    def entering(*given: Any) -> None:
        enter(*given)
        bank.generate(REQUESTS, **SHORT)

    bank._registry.enter = entering  # type: ignore[method-assign]
    bank.add("anna", replace(adapter, templates=(TEMPLATE,)))
    assert control_tokens == [2]


def test_removing_a_tenant_keeps_the_templates_of_the_next_of_its_name(
    tiny_backbone: Any, make_tenant: Callable[..., Any], control_tokens: list[int]
) -> None:
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    adapter = replace(adapter, templates=(TEMPLATE,))
    bank.add("anna", adapter)
    leave = bank._registry.leave

    def leaving(tenant: str) -> None:
        leave(tenant)
        bank.add(tenant, adapter)

    bank._registry.leave = leaving  # type: ignore[method-assign]
    bank.remove("anna")
    bank.generate(REQUESTS, **SHORT)
    assert control_tokens == [2]


def test_of_two_that_remove_one_name_at_once_the_later_is_refused(
    tiny_backbone: Any, make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not remove a tenant of this name that was added between the two."""
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    bank.add("anna", adapter)
    change = bank._registry._change
    waiting = threading.Event()

    class Change:
        """The registry's lock, which tells when the other thread is about to take it."""

        def __enter__(self) -> None:
            if threading.current_thread() is later:
                waiting.set()
            change.acquire()

        def __exit__(self, *_: Any) -> None:
            change.release()

    def remove() -> str:
        with pytest.raises(ConfigError, match="must be one of the bank's 0, got 'anna'") as error:
            bank.remove("anna")
        return str(error.value)

    later = Worker(remove)
    monkeypatch.setattr(bank._registry, "_change", Change())
    with change:
        later.start()
        assert waiting.wait(PATIENCE)
        del bank._registry._tenants["anna"]
    later.join(PATIENCE)
    assert later.found is not None


def test_a_prompt_is_answered_by_the_tenant_whose_templates_it_was_read_with(
    tiny_backbone: Any, make_tenant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant of the same name that comes while the prompts are encoded answers the next call."""
    bank, adapter = open_bank(tiny_backbone, make_tenant)
    other = replace(adapter, tensors={name: 3 * tensor for name, tensor in adapter.tensors.items()})
    bank.add("anna", adapter)
    expected = bank.generate(REQUESTS, **SHORT)

    def slowly(*given: Any, **options: Any) -> Any:
        if bank.tenants == ("anna",):
            bank.remove("anna")
            bank.add("ben", adapter)
            bank.add("anna", other)
        return encode_whole(*given, **options)

    monkeypatch.setattr("pedro_bench.serving.requests.encode_whole", slowly)
    assert bank.generate(REQUESTS, **SHORT) == expected
    assert bank.generate(REQUESTS, **SHORT) != expected
