"""Bottleneck adapters against the equation, written out in einsum within Transformers' own layers.

The reference shares no code with the package: it replaces `o_proj` and `down_proj` of a plain model by
modules that compute the projection and then x + W2 GELU(W1 x + b1) + b2 from copies of the parameters.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_backbone, build_method, pad_left

PLACES = {"attn_out": ("self_attn", "o_proj"), "ffn_down": ("mlp", "down_proj")}
ADAPTED = {
    "houlsby_adapter": [(layer, role) for layer in (0, 1) for role in PLACES],
    "adapter_ffn": [(0, "ffn_down"), (1, "ffn_down")],
    "adapterdrop": [(1, "attn_out"), (1, "ffn_down")],
}
"""Layer and role of every adapter on a backbone of two layers."""


class Projected(nn.Module):
    """A projection followed by an adapter."""

    def __init__(self, weight: Tensor, parts: dict[str, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.parts = nn.ParameterDict({key: part.detach().clone() for key, part in parts.items()})

    def forward(self, given: Tensor) -> Tensor:
        p = self.parts
        x = torch.einsum("bti,oi->bto", given, self.weight)
        inner = torch.einsum("bto,ro->btr", x, p["down"]) + p["down_bias"]
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        return x + torch.einsum("btr,or->bto", inner, p["up"]) + p["up_bias"]


def reference(model: Any, state: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    """Put the adapters of a state dict into a plain model; return its parameters by our names."""
    own = {}
    for layer, block in enumerate(model.model.layers):
        for role, (group, name) in PLACES.items():
            start = f"layers.{layer}.{role}."
            parts = {
                key.removeprefix(start): value
                for key, value in state.items()
                if key.startswith(start)
            }
            if parts:
                place = getattr(block, group)
                module = Projected(getattr(place, name).weight, parts)
                setattr(place, name, module)
                own |= {start + key: value for key, value in module.parts.items()}
    return own


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", sorted(ADAPTED))
def test_logits_and_one_training_step_equal_the_equation(
    name: str, side: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch() if side == "right" else pad_left(make_batch())
    adapted = AdaptedModel(load_tiny(), build_method(name))
    own = dict(adapted.adapter.named_parameters())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in own.values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    model = load_tiny().model
    theirs = reference(model, adapted.adapter_state())
    assert set(theirs) == set(own)
    places = {key.rpartition(".")[0] for key in own}
    assert places == {f"layers.{layer}.{role}" for layer, role in ADAPTED[name]}
    mask = batch.attention_mask_BT.long()
    logits = model(
        input_ids=batch.input_ids_BT,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    ).logits[:, :-1]
    is_answer = batch.labels_BT[:, 1:] != -100
    expected = logits[is_answer]
    given, labels = adapted.answer_logits(batch)
    torch.testing.assert_close(given, expected, rtol=0, atol=5e-5)
    loss, count = adapted(batch)
    for parameters, value in (
        (own, loss / count),
        (theirs, nn.functional.cross_entropy(expected, labels)),
    ):
        value.backward()
        torch.optim.SGD(parameters.values(), lr=0.5).step()
    for key, parameter in own.items():
        torch.testing.assert_close(
            parameter.detach(), theirs[key].detach(), rtol=1e-4, atol=1e-5, msg=key
        )


def test_starts_near_the_backbone_as_the_authors_code(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    backbone = load_tiny()
    with torch.no_grad():
        plain = backbone.model(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT.long()
        ).logits[:, :-1][batch.labels_BT[:, 1:] != -100]
        torch.manual_seed(1)
        adapted = AdaptedModel(backbone, build_method("houlsby_adapter", r=256))
        given = adapted.answer_logits(batch)[0]
    difference = float((given - plain).abs().max())
    assert 0 < difference < 0.01
    for key, parameter in adapted.adapter.named_parameters():
        if key.endswith("_bias"):
            assert not parameter.any()
            continue
        # A normal cut at two deviations has 0.8796 of its deviation.
        assert 1.9e-3 < float(parameter.detach().abs().max()) <= 2e-3
        assert float(parameter.detach().std()) == pytest.approx(0.8796e-3, rel=0.03)


@pytest.mark.parametrize(
    ("name", "changes", "counts"),
    [
        ("houlsby_adapter", {}, (9_437_184, 9_700_480)),
        ("adapter_ffn", {}, (9_437_184, 9_569_408)),
        ("adapterdrop", {}, (5_603_328, 5_759_660)),
        ("adapterdrop", {"dropped_fraction": 0.0}, (9_437_184, 9_700_480)),
    ],
)
def test_the_ledger_on_llama2_7b(
    name: str, changes: dict[str, Any], counts: tuple[int, int]
) -> None:
    count = build_method(name, **changes).count(build_backbone("llama2_7b").shape())
    assert (count.matrices, count.trainable) == counts


def test_dropping_every_layer_is_refused(load_tiny: Callable[..., Any]) -> None:
    method = build_method("adapterdrop", dropped_fraction=0.9)
    message = r"method\.dropped_fraction must leave at least one layer .* got 0\.9 of 2 layers"
    with pytest.raises(ConfigError, match=message):
        AdaptedModel(load_tiny(), method)
    with pytest.raises(ConfigError, match=message):
        method.count(load_tiny().shape)
