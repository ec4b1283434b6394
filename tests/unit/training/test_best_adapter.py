"""A method may keep early adapters from being the best one; AdaLoRA does, until its budget is met."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from pedro_bench.methods.adalora.layers import orthogonality, svd_updates
from pedro_bench.methods.lora import Lora
from tests.tiny import build_method


@dataclass(frozen=True, kw_only=True)
class Late(Lora):
    """LoRA whose adapters count from a step on."""

    first: int

    def can_be_best(self, step: int, num_steps: int) -> bool:
        return step >= self.first


@pytest.mark.parametrize("first", [21, 100])
def test_an_early_adapter_is_not_the_best_and_does_not_stop(
    first: int, run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    config = short(
        max_steps=24, num_epochs=30, eval_every_steps=3, patience=3, group_by_length=True
    )
    _, plain = run_training(lora, config, folder="plain")
    assert plain.stopped_early, "without the rule the loss must rise, or this test shows nothing"
    assert plain.best_step < 21
    _, result = run_training(Late(**{**vars(lora), "first": first}), config, folder="late")
    losses = {entry["step"]: entry["dev_loss"] for entry in result.history}
    allowed = [step for step in losses if step >= min(first, 24)]
    assert result.steps == 24
    assert not result.stopped_early
    assert result.best_step == min(allowed, key=lambda step: losses[step])
    assert result.best_dev_loss == losses[result.best_step] > min(losses.values())


def test_adalora_ends_at_its_budget(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    adapted, result = run_training(build_method("adalora"), short(lr=0.3, max_steps=12))
    updates = svd_updates(adapted.adapter)
    assert sum(int((u.lora_E != 0).sum()) for u in updates.values()) == 4 * len(updates)
    assert result.best_step >= 6
    assert [entry["step"] for entry in result.history] == [2, 4, 6, 8, 10, 12]


def test_adaloras_term_is_in_the_loss_that_is_trained(
    run_training: Callable[..., Any], short: Callable[..., Any]
) -> None:
    """With a rank that no matrix can be orthonormal at by itself, only the term brings it about."""
    distances = []
    for weight in (0.0, 1.0):
        method = build_method("adalora", orth_reg_weight=weight)
        adapted, _ = run_training(method, short(max_steps=40), folder=f"run{weight}")
        with torch.no_grad():
            distances.append(float(orthogonality(svd_updates(adapted.adapter))))
    assert distances[1] < 0.5 * distances[0]
