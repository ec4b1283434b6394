"""RoAd against peft's own implementation: logits, one training step; against 2 x 2 matrices; its counts."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch

from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.methods.road.layers import Rotation
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.reference.test_lora_ia3 import LINEARS, ROLE_OF, step
from tests.tiny import build_method

VARIANTS = {"road_1": 1, "road_2": 2, "road_4": 4}


def peft_model(backbone: Any, **settings: Any) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """A backbone with peft's RoAd, and its parameters by our names."""
    config = peft.RoadConfig(target_modules=LINEARS, task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(backbone.model, config)
    named = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = key.split(".")
            layer = parts[parts.index("layers") + 1]
            role = next(ROLE_OF[part] for part in parts if part in ROLE_OF)
            leaf = "theta" if "road_theta" in parts else "alpha"
            named[f"layers.{layer}.{role}.{leaf}"] = parameter
    return model, named


def as_ours(theirs: torch.Tensor, shape: torch.Size, group_size: int) -> torch.Tensor:
    """peft keeps the two halves of road_4 group by group, we keep them apart."""
    if len(shape) == 1:
        return theirs
    return theirs.view(-1, 2, group_size).transpose(0, 1).reshape(shape)


@pytest.mark.parametrize("group_size", [2, 8])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_logits_and_one_training_step_equal_peft(
    variant: str, group_size: int, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    settings = {"variant": variant, "group_size": group_size}
    adapted = AdaptedModel(load_tiny(), build_method("road", **settings))
    reference, theirs = peft_model(load_tiny(), **settings)
    own = dict(adapted.adapter.named_parameters())
    assert set(own) == set(theirs)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in own.items():
            start = as_ours(theirs[key], parameter.shape, group_size)
            assert torch.equal(parameter, start)
            theirs[key].add_(0.3 * torch.randn(theirs[key].shape, generator=generator))
            parameter.copy_(as_ours(theirs[key], parameter.shape, group_size))
    labels = batch.labels_BT
    output = reference(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT.long(), labels=labels
    )
    given, _ = adapted.answer_logits(batch)
    expected = output.logits[:, :-1][labels[:, 1:] != -100]
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=5e-5)
    loss, count = adapted(batch)
    torch.testing.assert_close(loss / count, output.loss, rtol=1e-5, atol=1e-6)
    step(list(own.values()), loss / count)
    step(list(theirs.values()), output.loss)
    for key, parameter in own.items():
        torch.testing.assert_close(
            parameter.detach(),
            as_ours(theirs[key].detach(), parameter.shape, group_size),
            rtol=1e-4,
            atol=2e-6,
            msg=key,
        )


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_each_pair_of_neighbours_is_multiplied_by_its_matrix(variant: str) -> None:
    rotation = Rotation(6, variant, 2)
    generator = torch.Generator().manual_seed(1)
    for parameter in rotation.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    h = torch.randn(5, 6, generator=generator)
    angles, scales = rotation.theta.detach(), rotation.alpha.detach()
    given = rotation(h)
    for pair in range(3):
        top, low = 2 * pair, 2 * pair + 1
        entries = {
            "road_1": [(pair,)] * 4,
            "road_2": [(top,), (top,), (low,), (low,)],
            "road_4": [(0, top), (1, top), (1, low), (0, low)],
        }[variant]
        a = [scales[place] for place in entries]
        t = [angles[place] for place in entries]
        matrix = torch.stack(
            [a[0] * t[0].cos(), -a[1] * t[1].sin(), a[2] * t[2].sin(), a[3] * t[3].cos()]
        ).view(2, 2)
        expected = torch.einsum("ij,tj->ti", matrix, h[:, [top, low]])
        torch.testing.assert_close(given[:, [top, low]].detach(), expected)


@pytest.mark.parametrize(("variant", "times"), sorted(VARIANTS.items()))
def test_counts(variant: str, times: int, load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny()
    method = build_method("road", variant=variant)
    _, theirs = peft_model(load_tiny(), variant=variant, group_size=2)
    widths = sum(site.outputs for role in ROLE_OF.values() for site in backbone.sites(role))
    assert method.count(backbone.shape).trainable == times * widths
    assert method.count(backbone.shape).trainable == sum(p.numel() for p in theirs.values())


def test_wrong_group_sizes_are_refused(load_tiny: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"method\.group_size must be even, got 3\."):
        build_method("road", group_size=3)
    with pytest.raises(ConfigError, match=r"method\.group_size must be .* at least 2, got 0"):
        build_method("road", group_size=0)
    with pytest.raises(ConfigError, match=r"method\.variant .* got 'road_3'"):
        build_method("road", variant="road_3")
    backbone = load_tiny()
    with pytest.raises(InjectionError, match=r"must divide the 16 outputs of role 'key', got 32"):
        build_method("road", group_size=32).count(backbone.shape)
    with pytest.raises(InjectionError, match=r"must divide the 16 outputs of role 'key', got 32"):
        AdaptedModel(backbone, build_method("road", group_size=32))
