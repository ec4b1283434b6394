"""What would make numbers from the wrong tokens is refused, with the reason, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import pedro_bench
from pedro_bench.errors import ConfigError, ContextError, InjectionError
from pedro_bench.integrations.peft import (
    BitFitConfig,
    LowRankIA3Config,
    LptConfig,
    PedroConfig,
    RedConfig,
    architecture_parameters,
)
from tests.tiny import build_method
from tests.unit.integrations.peft_types import (
    PROMPTED,
    TYPES,
    arguments,
    config_of,
    model_of,
    move,
    prompts_of,
)

SETTINGS = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}


@pytest.fixture
def model(tiny_folders: dict[str, Path]) -> Any:
    wrapped = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of("PEDRO"))
    move(wrapped.base_model.layer.parameters())
    return wrapped.eval()


@pytest.mark.parametrize("kind", TYPES)
def test_chunked_prefill_and_assisted_decoding(
    kind: str, tiny_folders: dict[str, Path], make_batch: Any
) -> None:
    """What reads the prompt refuses them; what does not gives the tokens it gives without them."""
    wrapped = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of(kind)).eval()
    move(wrapped.base_model.layer.parameters())
    prompts = prompts_of(make_batch(((9, 1),)))
    plain = wrapped.generate(**prompts, **SETTINGS)
    ways = (
        {"prefill_chunk_size": 8},
        {"assistant_model": model_of(tiny_folders["llama"])},
        {"prompt_lookup_num_tokens": 2},
    )
    for way in ways:
        if kind in PROMPTED:
            with pytest.raises(ContextError, match=f"{next(iter(way))} must be None"):
                wrapped.generate(**prompts, **SETTINGS, **way)
            if "assistant_model" not in way:
                config = wrapped.generation_config.__class__(**SETTINGS, **way)
                with pytest.raises(ContextError, match="vectors|several tokens"):
                    wrapped.generate(**prompts, generation_config=config)
                by_place = (prompts["input_ids"], config)
                with pytest.raises(ContextError, match=f"{next(iter(way))} must be None"):
                    wrapped.generate(*by_place, attention_mask=prompts["attention_mask"])
            with wrapped.disable_adapter():
                assert wrapped.generate(**prompts, **SETTINGS, **way).shape[0] == 1
        elif "assistant_model" not in way:  # the import of what it needs takes half a minute
            assert wrapped.generate(**prompts, **SETTINGS, **way).tolist() == plain.tolist()


def test_training_must_say_where_the_prompt_ends(model: Any, make_batch: Any) -> None:
    batch = make_batch()
    given = arguments(batch)
    labels = given.pop("labels")
    model.train()
    with pytest.raises(ContextError, match="neither labels nor prompt_mask"):
        model(**given)
    with pytest.raises(ContextError, match="a row that has no prompt"):
        model(**given, labels=given["input_ids"])
    with pytest.raises(ContextError, match=r"shape of the input, \(3, 8\), got \(3, 7\)"):
        model(**given, prompt_mask=batch.prompt_mask_BT[:, 1:])
    with pytest.raises(ContextError, match="at least one prompt token"):
        model(**given, prompt_mask=torch.zeros_like(batch.prompt_mask_BT))
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]]).expand(3, -1)
    with pytest.raises(ContextError, match="switch packing"):
        model(**given, labels=labels, position_ids=packed)
    assert model(**given, labels=labels).loss.isfinite()


def test_a_forward_without_an_input_is_refused_by_the_model_itself(model: Any) -> None:
    with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
        model()


def test_a_cache_is_continued_where_it_was_made(model: Any, make_batch: Any) -> None:
    prompts = prompts_of(make_batch(((5, 1), (5, 1))))
    ids = prompts["input_ids"]
    with torch.no_grad():
        whole = model(input_ids=ids)
        with model.disable_adapter():
            foreign = model(input_ids=ids).past_key_values
        with pytest.raises(ContextError, match="filled without them"):
            model(input_ids=ids[:, :1], past_key_values=foreign)
        with pytest.raises(ContextError, match="one token at a time, got 2"):
            model(input_ids=ids[:, :2], past_key_values=whole.past_key_values)
        other = model(input_ids=ids.flip(0))  # another generation in between
        step = model(input_ids=ids[:, :1], past_key_values=whole.past_key_values).logits
        theirs = model(input_ids=ids.flip(0)[:, :1], past_key_values=other.past_key_values).logits
    torch.testing.assert_close(step, theirs.flip(0))


def test_a_call_that_was_broken_off_leaves_the_next_its_own_prompts(
    model: Any, make_batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch calls no hook after a KeyboardInterrupt."""
    first, second = (arguments(make_batch(lengths)) for lengths in (((2, 4),), ((4, 2),)))
    base = model.get_base_model()
    with torch.no_grad():
        expected = model(**second).logits
        stack = base.model(**prompts_of(make_batch()))[0]

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        for _ in range(2):
            handle = base.model.layers[0].register_forward_pre_hook(stop)
            with pytest.raises(KeyboardInterrupt):
                model(**first)
            handle.remove()
            torch.testing.assert_close(model(**second).logits, expected, rtol=0, atol=0)
        handle = base.model.layers[0].register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            model(**first)
        handle.remove()
        again = base.model(**prompts_of(make_batch()))[0]
        torch.testing.assert_close(again, stack, rtol=0, atol=0)


def test_a_bare_call_of_the_stack_of_layers_is_adapted_too(model: Any, make_batch: Any) -> None:
    prompts = prompts_of(make_batch())
    base = model.get_base_model()
    with torch.no_grad():
        expected = model(**prompts).logits
        hidden = base.model(**prompts).last_hidden_state
    torch.testing.assert_close(base.lm_head(hidden), expected)
    model.train()
    with pytest.raises(ContextError, match="neither labels nor prompt_mask"):
        base.model(**prompts)


def test_the_generation_of_a_static_cache(model: Any, make_batch: Any) -> None:
    prompts = prompts_of(make_batch())
    expected = model.generate(**prompts, **SETTINGS)
    found = model.generate(**prompts, **SETTINGS, cache_implementation="static")
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PedroConfig(r=0), "PedroConfig.r must be a whole number of at least 1"),
        (lambda: PedroConfig(pooling="lst"), "PedroConfig.pooling .*Did you mean 'last'"),
        (lambda: RedConfig(scaling=False, bias_vector=False), "RedConfig.bias must be true"),
        (lambda: LowRankIA3Config(r=None), "peft's own IA3Config"),
        (lambda: LptConfig(bottleneck_size=0), "LptConfig.bottleneck_size"),
    ],
)
def test_settings_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("target", "roles"),
    [
        (None, ["query", "value", "ffn_up"]),
        (["value", "query"], ["value", "query"]),
        (["q_proj", "mlp.up_proj"], ["query", "ffn_up"]),
        (r".*(k|v)_proj", ["key", "value"]),
    ],
)
def test_target_modules(target: Any, roles: list[str], tiny_folders: dict[str, Path]) -> None:
    config = PedroConfig(r=2, target_modules=target)
    wrapped = peft.get_peft_model(model_of(tiny_folders["llama"]), config)
    assert wrapped.peft_config["default"].target_modules == roles
    assert list(wrapped.base_model.layer.methods["default"].roles) == roles


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (["q_prj"], "got 'q_prj'. Did you mean 'q_proj'"),
        (["layers.0.self_attn.q_proj"], "'query' in 1 of 2 layers"),
        ("lm_head", "must mean a projection of the model's layers"),
        (["o_proj"], "attn_out"),
    ],
)
def test_target_modules_that_do_not_fit(
    target: Any, message: str, tiny_folders: dict[str, Path]
) -> None:
    model = model_of(tiny_folders["llama"])
    with pytest.raises(ConfigError, match=message):
        peft.get_peft_model(model, PedroConfig(r=2, target_modules=target))
    assert not hasattr(model, "method_layer")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_models_that_do_not_fit(tiny_folders: dict[str, Path], model: Any) -> None:
    from transformers import AutoModelForSeq2SeqLM

    encoder_decoder = AutoModelForSeq2SeqLM.from_pretrained(tiny_folders["t5"])
    with pytest.raises(InjectionError, match="must be a decoder"):
        peft.get_peft_model(encoder_decoder, PedroConfig(r=2))
    split = model_of(tiny_folders["llama"])
    split.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    with pytest.raises(InjectionError, match="one device, got 2"):
        peft.get_peft_model(split, BitFitConfig())
    with pytest.raises(InjectionError, match="below the backbone's 2 layers"):
        peft.get_peft_model(model_of(tiny_folders["llama"]), LptConfig(layer=2))
    with pytest.raises(ValueError, match="Cannot combine adapters with different peft types"):
        model.add_adapter("second", RedConfig())
    assert list(model.base_model.layer.methods) == ["default"]
    red = peft.get_peft_model(model_of(tiny_folders["llama"]), RedConfig())
    with pytest.raises(ConfigError, match="architecture parameters, got 'red'"):
        architecture_parameters(red)


@pytest.mark.filterwarnings("ignore:You are trying to modify", "ignore:Already found a")
@pytest.mark.parametrize("kinds", [("PEDRO", "RED"), ("RED", "PEDRO")])
def test_a_second_type_on_one_model(
    kinds: tuple[str, str], tiny_folders: dict[str, Path], tmp_path: Path, make_batch: Any
) -> None:
    """It would be kept under the first one's name, where peft finds nothing when it loads the adapter."""
    first, second = kinds
    bare = model_of(tiny_folders["llama"])
    wrapped = peft.get_peft_model(bare, config_of(first)).eval()
    move(wrapped.base_model.layer.parameters())
    batch = arguments(make_batch())
    expected = wrapped(**batch).logits
    with pytest.raises(ConfigError, match=rf"one type, got {second} where it holds {first}: call"):
        peft.get_peft_model(bare, config_of(second))
    with pytest.raises(ConfigError, match=r"model of Transformers, .* got PeftModelForCausalLM"):
        peft.get_peft_model(wrapped, config_of(first))
    wrapped.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(model_of(tiny_folders["llama"]), tmp_path).eval()
    torch.testing.assert_close(again(**batch).logits, expected)
    another = peft.get_peft_model(wrapped.unload(), config_of(second))
    assert another(**batch).loss.isfinite()


@pytest.mark.filterwarnings("ignore:You are trying to modify", "ignore:Already found a")
def test_other_adapters_on_the_model(tiny_folders: dict[str, Path], model: Any) -> None:
    with pytest.raises(ConfigError, match=r"got MethodLayer in 'method_layer': call unload\(\)"):
        pedro_bench.attach(build_method("lora"), model.get_base_model())
    assert all(parameter.requires_grad for parameter in model.base_model.layer.parameters())
    lora = peft.get_peft_model(model_of(tiny_folders["llama"]), peft.LoraConfig())
    with pytest.raises(
        ConfigError, match="without adapters of peft, got Linear in 'model.layers.0"
    ):
        peft.get_peft_model(lora.get_base_model(), config_of("RED"))
    for other in (lora, lora.get_base_model()):
        with pytest.raises(ConfigError, match="model must be what get_peft_model returned for a"):
            architecture_parameters(other)
    with pytest.raises(ConfigError, match="got 'defalt'. Did you mean 'default'"):
        architecture_parameters(model, "defalt")
    bare = model_of(tiny_folders["llama"])
    adapted = pedro_bench.attach(build_method("lora"), bare)
    with pytest.raises(InjectionError, match="one method at a time, got 'red' on top of 'lora'"):
        peft.get_peft_model(bare, config_of("RED"))
    adapted.remove()
    assert peft.get_peft_model(bare, config_of("RED")) is not None


def test_without_the_import_the_error_and_the_card_say_what_to_import(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.count("import pedro_bench.integrations.peft") == 1
    written = "PEDRO (import pedro_bench.integrations.peft)"
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == written
    monkeypatch.delitem(PEFT_TYPE_TO_CONFIG_MAPPING, written)  # as where nothing was imported
    with pytest.raises(KeyError, match="import pedro_bench.integrations.peft"):
        peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path)


def test_the_package_does_not_import_peft() -> None:
    code = "import sys, pedro_bench, pedro_bench.integrations; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
