"""Learned-Adapter against its equations, written out once more as hooks on a bare backbone.

The reference shares no code with the package: it reads the parameters and computes every adapter, its
rational function and its operators in plain einsum.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import build_method

PLACES = ("attn_out", "ffn_down")
OPERATORS = ("identity", "linear", "gated")
PAIRS = list(product(PLACES, OPERATORS))


def rational(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    above = sum(a[j] * x**j for j in range(7))
    return above / (1 + abs(sum(b[i - 1] * x**i for i in range(1, 6))))


def encoded(operator: str, own: dict[str, Tensor], z: Tensor) -> Tensor:
    if operator == "identity":
        return z
    product_BTR = torch.einsum("btr,rs->bts", z, own[f"operators.{operator}.weight"])
    return product_BTR if operator == "linear" else 2 * z / (1 + torch.exp(-product_BTR))


def adapter(own: dict[str, Tensor], y: Tensor, shares: dict[str, Any]) -> Tensor:
    x = torch.einsum("btd,dr->btr", y, own["down"]) + own["down_bias"]
    z = rational(own["activation.numerator"], own["activation.denominator"], x)
    total = torch.zeros_like(y)
    for operator, share in shares.items():
        up = torch.einsum("btr,rd->btd", encoded(operator, own, z), own["up"]) + own["up_bias"]
        total = total + share * up
    return total


def reference_logits(
    backbone: Any,
    state: dict[str, Tensor],
    shares: Callable[[int, str], dict[str, Any]],
    batch: Any,
) -> Tensor:
    for layer, block in enumerate(backbone.model.model.layers):
        for place, module in (
            ("attn_out", block.self_attn.o_proj),
            ("ffn_down", block.mlp.down_proj),
        ):
            prefix = f"layers.{layer}.{place}."
            own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            if own:
                weights = shares(layer, place)
                module.register_forward_hook(
                    lambda _m, _x, y, own=own, w=weights: y + adapter(own, y, w)
                )
    logits = backbone.model(input_ids=batch.input_ids_BT).logits
    return logits[:, :-1][batch.labels_BT[:, 1:] != -100]


def moved(adapted: AdaptedModel) -> dict[str, Tensor]:
    """Move all parameters off their start; return copies that take gradients."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    named = adapted.adapter.named_parameters()
    return {name: parameter.detach().clone().requires_grad_() for name, parameter in named}


def assert_same(
    adapted: AdaptedModel, state: dict[str, Tensor], expected: Tensor, batch: Any
) -> None:
    """Compare logits, and the gradients of a weighted sum of them."""
    given, _ = adapted.answer_logits(batch)
    torch.testing.assert_close(given, expected, rtol=0, atol=2e-5)
    weights = torch.linspace(-1, 1, expected.numel()).view_as(expected)
    (given * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in adapted.adapter.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, rtol=1e-3, atol=1e-4)


def test_search_mixes_all_pairs_of_a_layer(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    adapted = AdaptedModel(load_tiny(), build_method("learned_adapter", bottleneck_size=5))
    state = moved(adapted)

    def shares(layer: int, place: str) -> dict[str, Any]:
        alpha = state[f"layers.{layer}.choice.alpha"]
        parts = torch.exp(alpha) / torch.exp(alpha).sum()
        return {op: parts[i] for i, (where, op) in enumerate(PAIRS) if where == place}

    assert_same(adapted, state, reference_logits(load_tiny(), state, shares, batch), batch)


@pytest.mark.parametrize(
    "layers", [("attn_out.linear", "ffn_down.gated"), ("ffn_down.identity",) * 2]
)
def test_found_structure_is_one_adapter_for_each_layer(
    layers: tuple[str, ...], load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    searched = AdaptedModel(load_tiny(), build_method("learned_adapter", bottleneck_size=5))
    with torch.no_grad():
        for layer, pair in enumerate(layers):
            alpha = searched.adapter.get_submodule(f"layers.{layer}.choice").alpha
            alpha[[".".join(one) for one in PAIRS].index(pair)] = 0.1
    found = searched.method.following(searched.adapter)
    assert found.structure == layers
    adapted = AdaptedModel(load_tiny(), found)
    state = moved(adapted)
    expected = reference_logits(
        load_tiny(), state, lambda layer, _: {layers[layer].partition(".")[2]: 1}, batch
    )
    assert_same(adapted, state, expected, batch)
    # By hand: 2 d r and r^2; r + d biases and 12 coefficients; d = 32, r = 5.
    operators = sum(25 for pair in layers if not pair.endswith("identity"))
    count = found.count(adapted.backbone.shape)
    assert (count.matrices, count.trainable) == (640 + operators, 640 + operators + 2 * 49)


def test_of_equal_pairs_the_first_is_found(load_tiny: Callable[..., Any]) -> None:
    """A search that moved nothing keeps the first pair, in the order of places and operators."""
    searched = AdaptedModel(load_tiny(), build_method("learned_adapter", bottleneck_size=5))
    found = searched.method.following(searched.adapter)
    assert found.structure == ("attn_out.identity", "attn_out.identity")
