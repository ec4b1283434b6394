"""Methods that are an affine map at a projection, against the backbone with that map in its weights.

Where the layouts differ: GPT-2 keeps weights as (in, out), GPT-NeoX has query, key and value of each head
side by side, Phi-3 fuses gate and up as well. The rows of a role are written down here once more.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method, pad_left

HEADS, WIDTH, HIDDEN, INNER = 4, 8, 32, 48
PATHS: dict[str, dict[str, str]] = {
    "llama": {
        "query": "model.layers.{}.self_attn.q_proj",
        "key": "model.layers.{}.self_attn.k_proj",
        "value": "model.layers.{}.self_attn.v_proj",
        "attn_out": "model.layers.{}.self_attn.o_proj",
        "ffn_gate": "model.layers.{}.mlp.gate_proj",
        "ffn_up": "model.layers.{}.mlp.up_proj",
        "ffn_down": "model.layers.{}.mlp.down_proj",
    },
    "phi3": {
        **dict.fromkeys(("query", "key", "value"), "model.layers.{}.self_attn.qkv_proj"),
        "attn_out": "model.layers.{}.self_attn.o_proj",
        **dict.fromkeys(("ffn_gate", "ffn_up"), "model.layers.{}.mlp.gate_up_proj"),
        "ffn_down": "model.layers.{}.mlp.down_proj",
    },
    "gpt2": {
        **dict.fromkeys(("query", "key", "value"), "transformer.h.{}.attn.c_attn"),
        "attn_out": "transformer.h.{}.attn.c_proj",
        "ffn_up": "transformer.h.{}.mlp.c_fc",
        "ffn_down": "transformer.h.{}.mlp.c_proj",
    },
    "gpt_neox": {
        **dict.fromkeys(("query", "key", "value"), "gpt_neox.layers.{}.attention.query_key_value"),
        "attn_out": "gpt_neox.layers.{}.attention.dense",
        "ffn_up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
        "ffn_down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    },
}
THIRD = {"query": 0, "key": 1, "value": 2}
PHI3 = {
    "query": range(32),
    "key": range(32, 48),
    "value": range(48, 64),
    "ffn_gate": range(INNER),
    "ffn_up": range(INNER, 2 * INNER),
}
Map = Callable[[Tensor, Tensor, dict[str, Tensor]], tuple[Tensor, Tensor]]
"""Weights (out, in), bias (out,) and the adapter's tensors at a projection -> new weights and bias."""


def rows_of(layout: str, role: str) -> list[int] | slice:
    """Return which of the module's outputs are the role's."""
    if layout == "phi3" and role in PHI3:
        return list(PHI3[role])
    if layout == "gpt2" and role in THIRD:
        return list(range(THIRD[role] * HIDDEN, (THIRD[role] + 1) * HIDDEN))
    if layout == "gpt_neox" and role in THIRD:
        return [
            (3 * head + THIRD[role]) * WIDTH + one for head in range(HEADS) for one in range(WIDTH)
        ]
    return slice(None)


def lora(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return weight + 8 / 4 * own["lora_B"] @ own["lora_A"], bias


def dora(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    direction, _ = lora(weight, bias, own)
    gain = own["magnitude"] / direction.norm(dim=1)
    return gain[:, None] * direction, bias


def adalora(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    update = own["lora_B"] @ torch.diag(own["lora_E"][:, 0]) @ own["lora_A"]
    return weight + 16 / (8 + 1e-5) * update, bias


def ia3(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    vector = own["inner"] @ own["projection"]
    if len(vector) == weight.shape[1] == INNER:  # of the down-projection, the input
        return weight * vector, bias
    return weight * vector[:, None], bias * vector


def bitfit(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return weight, bias + own["inner"] @ own["projection"]


def red(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    scaling, shift = own["scaling.vector"], own["bias.vector"]
    return weight * scaling[:, None], bias * scaling + shift


def road(weight: Tensor, bias: Tensor, own: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    rotation = torch.zeros(len(weight), len(weight))
    for pair, (angle, size) in enumerate(zip(own["theta"], own["alpha"], strict=True)):
        cos, sin = size * angle.cos(), size * angle.sin()
        first = 2 * pair
        rotation[first : first + 2, first : first + 2] = torch.tensor([[cos, -sin], [sin, cos]])
    return rotation @ weight, rotation @ bias


MAPS: dict[str, Map] = {
    "lora": lora,
    "dora": dora,
    "adalora": adalora,
    "ia3": ia3,
    "bitfit": bitfit,
    "red_both": red,
    "road": road,
}


def write(model: Any, layout: str, state: dict[str, Tensor], change: Map) -> None:
    """Put the maps into a backbone's weights and biases."""
    places = sorted({tuple(name.split(".")[1:3]) for name in state})
    for layer, role in places:
        start = f"layers.{layer}.{role}."
        own = {key.removeprefix(start): one for key, one in state.items() if key.startswith(start)}
        module = model.get_submodule(PATHS[layout][role].format(layer))
        weight_OI = module.weight.t() if layout == "gpt2" else module.weight
        if module.bias is None:
            module.bias = nn.Parameter(torch.zeros(len(weight_OI)))
        rows = rows_of(layout, role)
        weight_OI[rows], module.bias[rows] = change(weight_OI[rows], module.bias[rows], own)


@pytest.mark.parametrize("layout", sorted(PATHS))
@pytest.mark.parametrize("name", sorted(MAPS))
def test_it_is_the_backbone_with_other_weights(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any], name: str, layout: str
) -> None:
    batch = make_batch()
    adapted = AdaptedModel(load_tiny(layout), build_method(name)).eval()
    generator = torch.Generator().manual_seed(2)
    bare = load_tiny(layout).model
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        given = [adapted.answer_logits(one)[0] for one in (batch, pad_left(batch))]
        write(bare, layout, dict(adapted.adapter.named_parameters()), MAPS[name])
        logits = bare(input_ids=batch.input_ids_BT).logits[:, :-1]
    expected = logits[batch.labels_BT[:, 1:] != -100]
    for one in given:
        torch.testing.assert_close(one, expected, rtol=0, atol=5e-5)
