"""peft's own operations on the types of this package: what peft's tests ask of every method."""

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from pedro_bench.errors import ConfigError, ContextError, InjectionError
from tests.unit.integrations.peft_types import (
    ROWWISE,
    TYPES,
    arguments,
    config_of,
    model_of,
    move,
    prompts_of,
)

SETTINGS = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}


@pytest.fixture
def batch(make_batch: Any) -> Any:
    return make_batch()


@pytest.fixture
def wrap(tiny_folders: dict[str, Path]) -> Any:
    """A function that wraps a tiny model with adapters, each of numbers of its own."""

    def make(kind: str, *others: str, **changes: Any) -> Any:
        torch.manual_seed(0)
        model = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of(kind, **changes))
        for name in others:
            model.add_adapter(name, config_of(kind, **changes))
        for number, name in enumerate(("default", *others)):
            move(model.base_model.layer.adapters[name].parameters(), seed=number)
        return model.eval()

    return make


def logits(model: Any, batch: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**arguments(batch), **options).logits
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_identity_at_the_start_and_after_the_end(
    kind: str, tiny_folders: dict[str, Path], batch: Any
) -> None:
    model = model_of(tiny_folders["llama"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bare = logits(model, batch)
    wrapped = peft.get_peft_model(model, config_of(kind)).eval()
    trained, _ = wrapped.get_nb_trainable_parameters()
    assert trained == sum(one.numel() for one in wrapped.base_model.layer.parameters()) > 0
    starts_at_backbone = wrapped.base_model.layer.methods["default"].starts_at_backbone
    assert torch.equal(logits(wrapped, batch), bare) is starts_at_backbone
    move(wrapped.base_model.layer.parameters())
    assert not torch.equal(logits(wrapped, batch), bare)
    with wrapped.disable_adapter():
        assert torch.equal(logits(wrapped, batch), bare)
    assert not torch.equal(logits(wrapped, batch), bare)
    again = wrapped.unload()
    assert again is model
    assert torch.equal(logits(model, batch), bare)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert "generate" not in vars(model)


@pytest.mark.parametrize("kind", TYPES)
def test_named_adapters(kind: str, wrap: Any, batch: Any) -> None:
    model = wrap(kind, "other")
    first = logits(model, batch)
    assert not any(
        one.requires_grad for one in model.base_model.layer.adapters["other"].parameters()
    )
    model.set_adapter("other")
    second = logits(model, batch)
    assert not torch.allclose(first, second)
    assert all(one.requires_grad for one in model.base_model.layer.adapters["other"].parameters())
    assert not any(
        one.requires_grad for one in model.base_model.layer.adapters["default"].parameters()
    )
    model.set_adapter("default")
    torch.testing.assert_close(logits(model, batch), first)
    with pytest.warns(UserWarning, match="Setting active adapter to other"):
        model.delete_adapter("default")
    torch.testing.assert_close(logits(model, batch), second)
    assert model.get_model_status().available_adapters == ["other"]
    assert [layer.enabled for layer in model.get_layer_status()] == [True]


@pytest.mark.parametrize("kind", ROWWISE)
def test_adapters_mix_in_a_batch(kind: str, wrap: Any, batch: Any) -> None:
    model = wrap(kind, "other")
    names = ["other", "__base__", "default"]
    mixed = logits(model, batch, adapter_names=names)
    prompts = prompts_of(batch)
    for options in ({}, {"num_beams": 2}, {"use_cache": False}):
        answers = model.generate(**prompts, **SETTINGS, **options, adapter_names=names)
        for row, name in enumerate(names):
            if name == "__base__":
                with model.disable_adapter():
                    alone = logits(model, batch)
                    answer = model.generate(**prompts, **SETTINGS, **options)
            else:
                model.set_adapter(name)
                alone = logits(model, batch)
                answer = model.generate(**prompts, **SETTINGS, **options)
            torch.testing.assert_close(mixed[row], alone[row], rtol=1e-4, atol=1e-5)
            width = min(answers.shape[1], answer.shape[1])
            assert answers[row, :width].tolist() == answer[row, :width].tolist()


def test_what_adapter_names_must_be(wrap: Any, batch: Any) -> None:
    model = wrap("PEDRO", "other")
    with pytest.raises(ConfigError, match="'nobody'; known: default, other"):
        logits(model, batch, adapter_names=["nobody", "other", "other"])
    with pytest.raises(ContextError, match="one adapter for each example, got 2 for 3 rows"):
        logits(model, batch, adapter_names=["default", "other"])
    model.train()
    with pytest.raises(ConfigError, match="evaluation mode"):
        logits(model, batch, adapter_names=["default", "other", "other"])
    for kind in ("LPT", "INFIX"):
        model = wrap(kind, "other")
        with pytest.raises(ContextError, match="one adapter for all rows"):
            logits(model, batch, adapter_names=["default", "other", "other"])
        model.set_adapter("other")
        alone = logits(model, batch)
        model.set_adapter("default")
        torch.testing.assert_close(logits(model, batch, adapter_names=["other"] * 3), alone)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_gradient_checkpointing(kind: str, reentrant: bool, wrap: Any, batch: Any) -> None:
    model = wrap(kind).train()
    gradients = []
    for is_on in (False, True):
        if is_on:
            model.enable_input_require_grads()
            model.get_base_model().activation_checkpointing_enable({"use_reentrant": reentrant})
        first = model(**arguments(batch), use_cache=False).loss
        second = model(**arguments(batch), use_cache=False).loss  # two forwards, then backward
        (first + 2 * second).backward()
        gradients.append(
            {
                name: one.grad.clone()
                for name, one in model.named_parameters()
                if one.grad is not None
            }
        )
        model.zero_grad()
    assert set(gradients[0]) == set(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("kind", TYPES)
def test_saved_and_loaded(
    kind: str, wrap: Any, batch: Any, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    model = wrap(kind, "other")
    expected = logits(model, batch)
    model.save_pretrained(tmp_path)
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded, batch), expected)
    assert not any(one.requires_grad for one in loaded.parameters())
    for lean in (False, True):
        name = f"second_{lean}"
        loaded.load_adapter(tmp_path / "other", name, low_cpu_mem_usage=lean)
        loaded.set_adapter(name)
        model.set_adapter("other")
        torch.testing.assert_close(logits(loaded, batch), logits(model, batch))
    trainable = peft.PeftModel.from_pretrained(
        model_of(tiny_folders["llama"]), tmp_path, is_trainable=True, low_cpu_mem_usage=True
    )
    assert trainable.get_nb_trainable_parameters()[0] > 0
    torch.testing.assert_close(logits(trainable.eval(), batch), expected)


@pytest.mark.parametrize("kind", TYPES)
def test_a_deep_copy_stands_on_its_own(kind: str, wrap: Any, batch: Any) -> None:
    model = wrap(kind)
    expected = logits(model, batch)
    copied = copy.deepcopy(model)
    torch.testing.assert_close(logits(copied, batch), expected)
    move(copied.base_model.layer.parameters(), seed=5)
    changed = logits(copied, batch)
    assert not torch.allclose(changed, expected)
    torch.testing.assert_close(logits(model, batch), expected)
    prompts = prompts_of(batch)
    assert copied.generate(**prompts, **SETTINGS).shape[0] == 3
    bare = copy.deepcopy(model.get_base_model())
    assert torch.allclose(logits(bare, batch), expected)
    move(bare.method_layer.parameters(), seed=5)
    assert torch.allclose(logits(bare, batch), changed)
    assert (
        bare.generate(**prompts, **SETTINGS).tolist()
        == copied.generate(**prompts, **SETTINGS).tolist()
    )
    torch.testing.assert_close(logits(model, batch), expected)


@pytest.mark.parametrize("kind", ROWWISE)
def test_a_deep_copy_mixes_adapters_in_its_first_batch(kind: str, wrap: Any, batch: Any) -> None:
    model = wrap(kind, "other")
    names = ["other", "__base__", "default"]
    expected = logits(model, batch, adapter_names=names)
    copied = copy.deepcopy(model)
    torch.testing.assert_close(logits(copied, batch, adapter_names=names), expected)


def test_a_deep_copy_goes_on_from_no_cache_of_its_original(wrap: Any, batch: Any) -> None:
    model = wrap("PEDRO")
    ids = prompts_of(batch)["input_ids"]
    with torch.no_grad():
        cache = model(input_ids=ids).past_key_values
        copied = copy.deepcopy(model)
        with pytest.raises(ContextError, match="got one that was filled without them"):
            copied(input_ids=ids[:, :1], past_key_values=cache)
        assert model(input_ids=ids[:, :1], past_key_values=cache).logits.isfinite().all()


def test_an_adapter_can_be_deleted_from_a_deep_copy_before_it_is_called(
    wrap: Any, batch: Any
) -> None:
    model = wrap("PEDRO", "other")
    copied = copy.deepcopy(model)
    copied.delete_adapter("other")
    with pytest.raises(ConfigError, match="got 'other'; known: default"):
        logits(copied, batch, adapter_names=["other", "default", "default"])
    torch.testing.assert_close(logits(copied, batch), logits(model, batch))


@pytest.mark.parametrize("kind", TYPES)
def test_a_bfloat16_model(
    kind: str, tiny_folders: dict[str, Path], batch: Any, load_tiny: Any
) -> None:
    model = model_of(tiny_folders["llama"], dtype=torch.bfloat16)
    wrapped = peft.get_peft_model(model, config_of(kind))
    assert {one.dtype for one in wrapped.base_model.layer.parameters()} == {torch.float32}
    wrapped(**arguments(batch)).loss.backward()
    assert all(one.grad is not None for one in wrapped.base_model.layer.parameters())
    wrapped.to(torch.bfloat16)  # as trainers do with adapters of quantised models
    wrapped(**arguments(batch)).loss.backward()


def test_several_active_at_once_act_one_after_the_other(wrap: Any, batch: Any) -> None:
    """PEDRO's vectors multiply, as peft's (IA)^3 vectors do; the second reads what the first has changed."""
    model = wrap("PEDRO", "other")
    both, alone = [], []
    for names in (["default", "other"], ["other", "default"]):
        model.base_model.set_adapter(names)
        both.append(logits(model, batch))
    for name in ("default", "other"):
        model.set_adapter(name)
        alone.append(logits(model, batch))
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=1e-4)
    assert not any(torch.allclose(both[0], one) for one in alone)
    infix = wrap("INFIX", "other")
    infix.base_model.set_adapter(["default", "other"])
    with pytest.raises(ContextError, match="one adapter for all rows"):
        logits(infix, batch)


def test_merging_is_refused(wrap: Any) -> None:
    model = wrap("PEDRO")
    for merge in (model.merge_and_unload, model.merge_adapter):
        with pytest.raises(InjectionError, match="got pedro: keep it beside the model"):
            merge()
