"""Dropout of LoRA and AdaLoRA against peft from the same random stream, of LoReFT against its equation."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch

from pedro_bench.methods.loreft.layers import SubspaceIntervention
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method

MODULES = {"query": "q_proj", "value": "v_proj"}
CONFIGS: dict[str, Any] = {
    "lora": lambda **own: peft.LoraConfig(r=4, lora_alpha=8, **own),
    "adalora": lambda **own: peft.AdaLoraConfig(
        init_r=8, target_r=4, lora_alpha=16, total_step=10, **own
    ),
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_the_updates_input_is_dropped_in_training_alone(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Both draw once for each projection, in the order in which the projections act."""
    batch = make_batch(((6, 2), (6, 2)))
    adapted = AdaptedModel(load_tiny(), build_method(name, roles=tuple(MODULES), dropout=0.4))
    config = CONFIGS[name](lora_dropout=0.4, target_modules=list(MODULES.values()))
    reference = peft.get_peft_model(load_tiny().model, config)
    theirs = dict(reference.named_parameters())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in adapted.adapter.named_parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            _, layer, role, leaf = key.split(".")
            path = f"layers.{layer}.self_attn.{MODULES[role]}.{leaf}.default"
            (other,) = [one for known, one in theirs.items() if path in known]
            other.copy_(parameter)
    found = {}
    for is_training in (True, False):
        adapted.train(is_training)
        reference.train(is_training)
        torch.manual_seed(7)
        found[is_training] = adapted.answer_logits(batch)[0].detach()
        torch.manual_seed(7)
        logits = reference(input_ids=batch.input_ids_BT).logits[:, :-1]
        expected = logits[batch.labels_BT[:, 1:] != -100].detach()
        torch.testing.assert_close(found[is_training], expected, rtol=0, atol=2e-5)
    assert (found[True] - found[False]).abs().max() > 0.05


def test_loreft_drops_what_comes_out_at_the_chosen_tokens() -> None:
    torch.manual_seed(0)
    block = SubspaceIntervention(16, 3, dropout=0.4)
    hidden_BTD, chosen_BT = torch.randn(8, 20, 16), torch.rand(8, 20) < 0.5
    dropped, whole = block(hidden_BTD, chosen_BT), block.eval()(hidden_BTD, chosen_BT)
    assert torch.equal(dropped[~chosen_BT], hidden_BTD[~chosen_BT])
    is_zero = dropped[chosen_BT] == 0
    assert 0.35 < float(is_zero.float().mean()) < 0.45
    torch.testing.assert_close(
        dropped[chosen_BT][~is_zero], whole[chosen_BT][~is_zero] / 0.6, rtol=1e-5, atol=1e-6
    )
