"""RED against equation (3) written out once more on a decoder in plain einsum; its size on Llama-2."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import build_group
from tests.reference.plain_llama import logits_of
from tests.tiny import CONF, build_method, pad_left, read_yaml

EDITED = {
    "red": ({"ffn_down"}, {"scaling", "bias"}),
    "red_no_scaling": ({"ffn_down"}, {"bias"}),
    "red_no_bias": ({"ffn_down"}, {"scaling"}),
    "red_attention": ({"attn_out"}, {"scaling", "bias"}),
    "red_both": ({"attn_out", "ffn_down"}, {"scaling", "bias"}),
}


def reference_loss(backbone: Any, vectors: dict[str, Tensor], batch: Any) -> tuple[Tensor, Tensor]:
    """Logits at the positions that predict answers, and the mean loss, example by example."""
    weights = {key: value.double() for key, value in backbone.model.state_dict().items()}

    def edit(role: str, layer: int, h_1: Tensor) -> Tensor:
        scaling = vectors.get(f"layers.{layer}.{role}.scaling.vector", torch.ones(()))
        bias = vectors.get(f"layers.{layer}.{role}.bias.vector", torch.zeros(()))
        return scaling * h_1 + bias

    rows, labels = [], []
    for row, length in enumerate(batch.attention_mask_BT.sum(1).tolist()):
        ids = batch.input_ids_BT[row, :length].tolist()
        prompt = int(batch.prompt_mask_BT[row].sum())
        logits_TV = logits_of(weights, backbone.model.config, ids, edit)
        rows.append(logits_TV[prompt - 1 : -1])
        labels += ids[prompt:]
    logits_NV = torch.cat(rows)
    return logits_NV, F.cross_entropy(logits_NV, torch.tensor(labels))


@pytest.mark.parametrize("name", sorted(EDITED))
def test_logits_and_one_training_step_equal_the_equation(
    name: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backbone, batch = load_tiny(), make_batch()
    adapted = AdaptedModel(backbone, build_method(name))
    own = dict(adapted.adapter.named_parameters())
    roles, kinds = EDITED[name]
    assert set(own) == {
        f"layers.{layer}.{role}.{kind}.vector"
        for layer in (0, 1)
        for role in roles
        for kind in kinds
    }
    generator = torch.Generator().manual_seed(3)
    for key, parameter in own.items():
        assert torch.equal(parameter, torch.full((32,), 1.0 if "scaling" in key else 0.0))
        parameter.data.add_(0.3 * torch.randn(32, generator=generator))
    theirs = {key: p.detach().double().requires_grad_() for key, p in own.items()}
    expected_NV, expected = reference_loss(backbone, theirs, batch)
    for side in (batch, pad_left(batch)):
        given_NV, _ = adapted.answer_logits(side)
        torch.testing.assert_close(given_NV.double(), expected_NV, rtol=1e-5, atol=1e-4)
    loss, count = adapted(batch)
    torch.testing.assert_close((loss / count).double(), expected, rtol=1e-5, atol=1e-5)
    for parameters, one in ((own, loss / count), (theirs, expected)):
        one.backward()
        torch.optim.SGD(list(parameters.values()), lr=0.5).step()
    for key, parameter in own.items():
        assert float((parameter - theirs[key]).detach().abs().max()) < 1e-4
        assert float(theirs[key].grad.abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red", 262_144),
        ("red_no_scaling", 131_072),
        ("red_no_bias", 131_072),
        ("red_attention", 262_144),
        ("red_both", 524_288),
        ("lora_red", 8_388_608),
    ],
)
def test_size_on_llama2_7b(name: str, expected: int) -> None:
    config = read_yaml(CONF / "backbone" / "llama2_7b.yaml")
    count = build_method(name).count(build_group("backbone", config).shape())
    assert (count.matrices, count.trainable) == (expected, expected)
