"""LoRA and plain (IA)^3 against peft's own implementation: logits and one training step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ROLE_OF = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "attn_out",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def peft_model(backbone: Any, name: str) -> Any:
    import peft

    if name == "lora":
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=LINEARS, task_type="CAUSAL_LM")
    else:
        config = peft.IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"],
            feedforward_modules=["down_proj"],
            task_type="CAUSAL_LM",
        )
    return peft.get_peft_model(backbone.model, config)


def ours_of(name: str, key: str) -> str:
    """The name of our tensor for a name of peft's."""
    parts = key.split(".")
    layer, role = parts[parts.index("layers") + 1], next(ROLE_OF[p] for p in parts if p in ROLE_OF)
    leaf = next(p for p in parts if p in ("lora_A", "lora_B")) if name == "lora" else "vector"
    return f"layers.{layer}.{role}.{leaf}"


def step(parameters: list[torch.nn.Parameter], loss: torch.Tensor) -> None:
    loss.backward()
    torch.optim.SGD(parameters, lr=0.5).step()


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_logits_and_one_training_step_equal_peft(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    changes = {} if name == "lora" else {"r": None}
    adapted = AdaptedModel(load_tiny(), build_method(name, **changes))
    reference = peft_model(load_tiny(), name)
    generator = torch.Generator().manual_seed(2)
    own = dict(adapted.adapter.named_parameters())
    theirs = {ours_of(name, k): p for k, p in reference.named_parameters() if p.requires_grad}
    assert set(own) == set(theirs)
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            theirs[key].copy_(parameter.view_as(theirs[key]))
    labels = batch.labels_BT
    output = reference(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT.long(), labels=labels
    )
    given, _ = adapted.answer_logits(batch)
    expected = output.logits[:, :-1][labels[:, 1:] != -100]
    torch.testing.assert_close(given, expected, rtol=0, atol=2e-5)
    loss, count = adapted(batch)
    torch.testing.assert_close(loss / count, output.loss, rtol=1e-5, atol=1e-6)
    step(list(own.values()), loss / count)
    step(list(theirs.values()), output.loss)
    for key, parameter in own.items():
        torch.testing.assert_close(
            parameter.detach(), theirs[key].detach().view_as(parameter), rtol=1e-4, atol=1e-6
        )


def test_lora_starts_as_peft_does(load_tiny: Callable[..., Any]) -> None:
    adapted = AdaptedModel(load_tiny(), build_method("lora"))
    reference = peft_model(load_tiny(), "lora")
    theirs = {ours_of("lora", k): p for k, p in reference.named_parameters() if p.requires_grad}
    for key, parameter in adapted.adapter.named_parameters():
        if key.endswith("lora_B"):
            assert not parameter.any() and not theirs[key].any()
        else:
            bound = parameter.shape[1] ** -0.5
            assert 0.9 * bound < float(parameter.detach().abs().max()) <= bound
            assert 0.9 * bound < float(theirs[key].detach().abs().max()) <= bound
