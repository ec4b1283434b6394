"""The types of peft give the numbers of this package's methods: logits, a training step, tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from pedro_bench.errors import ConfigError
from pedro_bench.integrations.peft import MethodConfig, PedroConfig
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method, pad_left
from tests.unit.integrations.peft_types import (
    TYPES,
    arguments,
    config_of,
    method_of,
    model_of,
    move,
    prompts_of,
)

PREFIX = "base_model.model.method_layer."


def both(kind: str, tiny_folders: dict[str, Path], load_tiny: Any, family: str = "llama") -> Any:
    """Return peft's model and this package's, with the same numbers in the adapter."""
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model_of(tiny_folders[family]), config_of(kind))
    adapted = AdaptedModel(load_tiny(family), method_of(kind))
    move(adapted.adapter.parameters())
    name = f"{PREFIX}{kind.lower()}_adapter."
    state = {f"{name}{path}": value for path, value in adapted.adapter_state().items()}
    result = peft.set_peft_model_state_dict(wrapped, state)
    assert not result.unexpected_keys
    assert not [key for key in result.missing_keys if "method_layer" in key]
    return wrapped, adapted


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("kind", TYPES)
def test_logits_and_one_training_step(
    kind: str,
    family: str,
    tiny_folders: dict[str, Path],
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    wrapped, adapted = both(kind, tiny_folders, load_tiny, family)
    own = dict(adapted.adapter.named_parameters())
    theirs = {
        name.removeprefix(f"{PREFIX}{kind.lower()}_adapter.default."): parameter
        for name, parameter in wrapped.named_parameters()
        if parameter.requires_grad
    }
    assert set(own) == set(theirs)
    wrapped.train()
    for batch in (make_batch(), pad_left(make_batch())):
        found = wrapped(**arguments(batch))
        is_answer = batch.labels_BT[:, 1:] != -100
        expected_NV, _ = adapted.answer_logits(batch)
        torch.testing.assert_close(
            found.logits[:, :-1][is_answer], expected_NV, rtol=1e-4, atol=1e-4
        )
        total, count = adapted(batch)
        torch.testing.assert_close(found.loss, total / count)
    for parameters, loss in ((own, total / count), (theirs, found.loss)):
        optimiser = torch.optim.SGD(list(parameters.values()), lr=0.5)
        loss.backward()
        assert all(parameter.grad is not None for parameter in parameters.values())
        optimiser.step()
    for name, parameter in own.items():
        torch.testing.assert_close(theirs[name], parameter, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("kind", TYPES)
def test_32_generated_tokens(
    kind: str,
    options: dict[str, Any],
    tiny_folders: dict[str, Path],
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    """Tokens are those that this package's own greedy search over whole texts gives."""
    wrapped, adapted = both(kind, tiny_folders, load_tiny)
    prompts = prompts_of(make_batch())
    settings = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
    found = wrapped.eval().generate(**prompts, **settings, **options)
    adapted.eval()
    with adapted.context(
        prompts["attention_mask"].bool().repeat_interleave(options.get("num_beams", 1), 0)
    ).active():
        expected = adapted.model.generate(
            **prompts, **settings, num_beams=options.get("num_beams", 1)
        )
    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist()
    base = wrapped.get_base_model()
    with wrapped.disable_adapter():
        assert wrapped.generate(**prompts, **settings, **options).tolist() != found.tolist()
    assert base.generate(**prompts, **settings, **options).tolist() == found.tolist()


def test_a_prompt_mask_says_where_the_prompt_ends(
    tiny_folders: dict[str, Path], load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    wrapped, _ = both("PEDRO", tiny_folders, load_tiny)
    wrapped.eval()
    batch = make_batch()
    given = arguments(batch)
    by_labels = wrapped(**given).logits
    ids, mask = given["input_ids"], given["attention_mask"]
    by_mask = wrapped(input_ids=ids, attention_mask=mask, prompt_mask=batch.prompt_mask_BT).logits
    whole = wrapped(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(by_mask, by_labels)
    assert float((whole - by_mask).detach().abs().max()) > 1e-3
    prompts = prompts_of(batch)
    part = prompts["attention_mask"].bool()
    part[:, -1] = False
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "num_beams": 2}
    cached = wrapped.generate(**prompts, **settings, prompt_mask=part)
    assert (
        cached.tolist()
        == wrapped.generate(**prompts, **settings, prompt_mask=part, use_cache=False).tolist()
    )
    assert cached.tolist() != wrapped.generate(**prompts, **settings).tolist()


def test_the_configuration_of_a_method_of_this_package() -> None:
    for kind in TYPES:
        config = MethodConfig.of(method_of(kind), base_model_name_or_path="somewhere")
        assert isinstance(config, TYPES[kind][0])
        assert config.base_model_name_or_path == "somewhere"
        made = config.method(tuple(config.target_modules) if config.default_roles else None)
        assert made.count(_shape()) == method_of(kind).count(_shape())
    assert isinstance(MethodConfig.of(method_of("PEDRO")), PedroConfig)


def test_a_method_without_a_type_is_refused_with_what_it_can_have() -> None:
    with pytest.raises(
        ConfigError,
        match=r"type of peft here \(Pedro, .*\), got 'ssp': save it with .* format=native, or with",
    ):
        MethodConfig.of(build_method("ssp"))


def _shape() -> Any:
    from tests.tiny import build_backbone

    return build_backbone("micro").shape()
