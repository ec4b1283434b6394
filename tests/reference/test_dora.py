"""DoRA against peft's `use_dora=True`: start, logits, one training step, dropout, number of parameters."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch

from pedro_bench.errors import InjectionError
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.reference.test_lora_ia3 import LINEARS, ROLE_OF, step
from tests.tiny import build_method

LEAVES = {"lora_A": "lora_A", "lora_B": "lora_B", "lora_magnitude_vector": "magnitude"}


def peft_model(backbone: Any, dropout: float = 0.0) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """A backbone with peft's DoRA, and its parameters by our names."""
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=dropout,
        target_modules=LINEARS,
        task_type="CAUSAL_LM",
        use_dora=True,
    )
    model = peft.get_peft_model(backbone.model, config)
    named = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = key.split(".")
            layer = parts[parts.index("layers") + 1]
            role = next(ROLE_OF[part] for part in parts if part in ROLE_OF)
            leaf = next(LEAVES[part] for part in parts if part in LEAVES)
            named[f"layers.{layer}.{role}.{leaf}"] = parameter
    return model, named


def perturbed(adapted: AdaptedModel, theirs: dict[str, Any]) -> dict[str, torch.nn.Parameter]:
    """Move our parameters off their start and give peft's the same values."""
    generator = torch.Generator().manual_seed(2)
    own = dict(adapted.adapter.named_parameters())
    assert set(own) == set(theirs)
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            theirs[key].copy_(parameter)
    return own


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("has_bias", [False, True])
def test_logits_and_one_training_step_equal_peft(
    dropout: float,
    has_bias: bool,
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    batch = make_batch()
    backbones = [load_tiny(), load_tiny()]
    if has_bias:  # Llama has none of its own
        for backbone in backbones:
            generator = torch.Generator().manual_seed(8)
            for role in ROLE_OF.values():
                for site in backbone.sites(role):
                    bias = torch.randn(site.outputs, generator=generator)
                    site.module.bias = torch.nn.Parameter(bias, requires_grad=False)
    adapted = AdaptedModel(backbones[0], build_method("dora", dropout=dropout))
    reference, theirs = peft_model(backbones[1], dropout)
    own = perturbed(adapted, theirs)
    labels = batch.labels_BT
    adapted.train()
    reference.train()
    torch.manual_seed(9)
    output = reference(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT.long(), labels=labels
    )
    torch.manual_seed(9)
    given, _ = adapted.answer_logits(batch)
    expected = output.logits[:, :-1][labels[:, 1:] != -100]
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=5e-5)
    torch.manual_seed(9)
    loss, count = adapted(batch)
    torch.testing.assert_close(loss / count, output.loss, rtol=1e-5, atol=1e-6)
    step(list(own.values()), loss / count)
    step(list(theirs.values()), output.loss)
    for key, parameter in own.items():
        torch.testing.assert_close(
            parameter.detach(), theirs[key].detach(), rtol=1e-4, atol=2e-6, msg=key
        )


def test_start_and_number_of_parameters_are_those_of_peft(load_tiny: Callable[..., Any]) -> None:
    adapted = AdaptedModel(load_tiny(), build_method("dora"))
    _, theirs = peft_model(load_tiny())
    own = dict(adapted.adapter.named_parameters())
    assert {key: p.shape for key, p in own.items()} == {key: p.shape for key, p in theirs.items()}
    count = adapted.method.count(adapted.backbone.shape)
    assert count.trainable == sum(p.numel() for p in theirs.values())
    for key, parameter in own.items():
        if not key.endswith("lora_A"):  # drawn anew
            torch.testing.assert_close(parameter, theirs[key], rtol=1e-6, atol=0)


def test_the_norm_is_a_constant_in_backward(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """At m = ||W + s B A|| the output is LoRA's; with the norm in backward its gradients would not be."""
    gradients = {}
    for name in ("dora", "lora"):
        adapted = AdaptedModel(load_tiny(), build_method(name))
        for key, parameter in adapted.adapter.named_parameters():
            generator = torch.Generator().manual_seed(len(key))
            if "lora" in key:
                parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        for module in adapted.adapter.modules():
            if hasattr(module, "magnitude"):
                weight = module.frozen.weight() + module.scaling * module.lora_B @ module.lora_A
                module.magnitude.data.copy_(weight.norm(dim=1))
        adapted(make_batch())[0].backward()
        gradients[name] = {key: p.grad for key, p in adapted.adapter.named_parameters()}
    for key, gradient in gradients["lora"].items():
        torch.testing.assert_close(gradients["dora"][key], gradient, rtol=1e-3, atol=1e-4)


def test_a_row_of_zeros_is_refused(load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny()
    backbone.sites("key")[1].module.weight.data[3] = 0
    with pytest.raises(InjectionError, match=r"a direction in every row .* got a row of zeros in"):
        AdaptedModel(backbone, build_method("dora"))
    AdaptedModel(backbone, build_method("dora", roles=["query"])).remove()
