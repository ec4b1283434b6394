"""BitFit against Transformers' own Llama with biases: the vectors of ours are the biases of theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LINEAR_ROLES
from tests.tiny import build_backbone, build_method, pad_left, save_tiny

PLACES = dict(
    zip(
        LINEAR_ROLES,
        (
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ),
        strict=True,
    )
)


def with_biases(model: Any) -> Any:
    """Build Transformers' model with a bias, zero, in every projection, and the same weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(**{**model.config.to_dict(), "attention_bias": True, "mlp_bias": True})
    made = AutoModelForCausalLM.from_config(config)
    missing = made.load_state_dict(model.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith(".bias") for key in missing.missing_keys)
    with torch.no_grad():
        for key in missing.missing_keys:
            made.get_parameter(key).zero_()
    return made.eval()


def biases(model: Any) -> dict[str, nn.Parameter]:
    """The biases of a model by our names of the places."""
    return {
        f"layers.{layer}.{role}": block.get_submodule(place).bias
        for layer, block in enumerate(model.model.layers)
        for role, place in PLACES.items()
        if block.get_submodule(place).bias is not None
    }


def loss_of(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Answer logits of Transformers' model and the loss over them, written out."""
    mask = batch.attention_mask_BT.long()
    logits = model(
        input_ids=batch.input_ids_BT,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    ).logits[:, :-1]
    is_answer = batch.labels_BT[:, 1:] != -100
    return logits[is_answer], F.cross_entropy(logits[is_answer], batch.labels_BT[:, 1:][is_answer])


def ours_of(adapted: AdaptedModel, batch: Any) -> Tensor:
    loss, count = adapted(batch)
    return loss / count


@pytest.mark.parametrize("side", ["right", "left"])
def test_plain_steps_equal_training_the_biases(
    side: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch() if side == "right" else pad_left(make_batch())
    adapted = AdaptedModel(load_tiny(), build_method("bitfit", r=None))
    model = with_biases(load_tiny().model)
    theirs = biases(model)
    own = {key.removesuffix(".vector"): p for key, p in adapted.adapter.named_parameters()}
    assert set(own) == set(theirs)
    optimisers = [torch.optim.SGD(p.values(), lr=0.3) for p in (own, theirs)]
    for _ in range(3):
        expected, loss = loss_of(model, batch)
        torch.testing.assert_close(adapted.answer_logits(batch)[0], expected, rtol=0, atol=5e-5)
        for optimiser, value in zip(optimisers, (ours_of(adapted, batch), loss), strict=True):
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    for key, parameter in own.items():
        assert parameter.any()
        torch.testing.assert_close(parameter.detach(), theirs[key].detach(), rtol=1e-3, atol=1e-5)


def test_low_rank_equals_biases_that_are_z_times_p(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    adapted = AdaptedModel(load_tiny(), build_method("bitfit"))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model = with_biases(load_tiny().model)
    theirs = biases(model)
    own = dict(adapted.adapter.named_parameters())
    with torch.no_grad():
        for key, bias in theirs.items():
            z, p = own[f"{key}.inner"], own[f"{key}.projection"]
            bias.copy_(torch.einsum("r,ro->o", z, p))
    expected, loss = loss_of(model, batch)
    torch.testing.assert_close(adapted.answer_logits(batch)[0], expected, rtol=0, atol=5e-5)
    loss.backward()
    ours_of(adapted, batch).backward()
    for key, bias in theirs.items():
        # One step on z and P, by the chain rule from the gradient of the bias.
        z, p = own[f"{key}.inner"], own[f"{key}.projection"]
        assert bias.grad is not None
        options = {"rtol": 1e-3, "atol": 1e-5}
        torch.testing.assert_close(
            z.grad, torch.einsum("ro,o->r", p.detach(), bias.grad), **options
        )
        torch.testing.assert_close(
            p.grad, torch.einsum("r,o->ro", z.detach(), bias.grad), **options
        )


def test_low_rank_starts_at_exactly_zero(load_tiny: Callable[..., Any]) -> None:
    adapted = AdaptedModel(load_tiny(), build_method("bitfit"))
    own = dict(adapted.adapter.named_parameters())
    assert len(own) == 2 * 2 * len(PLACES)
    for key, parameter in own.items():
        assert bool(parameter.any()) == key.endswith(".inner")


def test_biases_that_a_backbone_has_are_trained_and_no_others(
    tmp_path: Path, make_batch: Callable[..., Any]
) -> None:
    folder = save_tiny(tmp_path / "biased", attention_bias=True)

    def load() -> Any:
        backbone = Pretrained(name="biased", label="biased", path=str(folder)).load(device="cpu")
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for bias in biases(backbone.model).values():
                bias.copy_(0.2 * torch.randn(bias.shape, generator=generator))
        return backbone

    batch, backbone, model = make_batch(), load(), load().model
    method = build_method("bitfit", r=None)
    adapted = AdaptedModel(backbone, method)
    own = {key.removesuffix(".vector"): p for key, p in adapted.adapter.named_parameters()}
    theirs, before = biases(model), biases(load().model)
    attention = ("query", "key", "value", "attn_out")
    assert set(own) == set(theirs) == {f"layers.{i}.{role}" for i in (0, 1) for role in attention}
    assert method.count(backbone.shape).trainable == sum(p.numel() for p in own.values())
    assert build_method("bitfit").count(backbone.shape).matrices == 8 * 2 * 224
    for bias in theirs.values():
        bias.requires_grad_(True)
    for parameters in (own, theirs):
        loss = ours_of(adapted, batch) if parameters is own else loss_of(model, batch)[1]
        loss.backward()
        torch.optim.SGD(parameters.values(), lr=0.3).step()
    for key, offset in own.items():
        moved = before[key].detach() + offset.detach()
        torch.testing.assert_close(moved, theirs[key].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({}, (10_878_976, 10_880_768)), ({"r": None}, (1_359_872, 1_359_872))],
)
def test_the_ledger_on_llama2_7b(changes: dict[str, Any], counts: tuple[int, int]) -> None:
    count = build_method("bitfit", **changes).count(build_backbone("llama2_7b").shape())
    assert (count.matrices, count.trainable) == counts
