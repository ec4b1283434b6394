"""Which adapter is the best: by dev loss or by main metric, of those that the method lets be.

AdaLoRA keeps early ones from being it, until its budget is met.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from pedro_bench.methods.adalora.layers import orthogonality, svd_updates
from pedro_bench.methods.lora import Lora
from pedro_bench.training.saved_folder import read_folder
from pedro_bench.training.state import EarlyStopping
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


def test_the_main_metric_chooses_where_it_is_asked_to(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    """The earliest of the highest; what is trained, and its random stream, stay as they were."""
    config = short(patience=None)
    lora = replace(lora, dropout=0.2)
    _, plain = run_training(lora, config, folder="plain")
    given = iter([50.0, 70.0, 70.0, 60.0])
    config = replace(config, metric_for_best_model="main_metric")
    adapted, result = run_training(lora, config, dev_score=lambda: next(given))
    assert [{k: v for k, v in one.items() if k != "dev_score"} for one in result.history] == list(
        plain.history
    )
    assert [one["dev_score"] for one in result.history] == [50.0, 70.0, 70.0, 60.0]
    assert (result.best_step, result.best_dev_score) == (4, 70.0)
    assert plain.best_step == 8, "or the loss would choose the same"
    assert plain.best_dev_score is None
    assert result.best_dev_loss == result.history[1]["dev_loss"]
    own, saved = adapted.adapter_state(), read_folder(result.best_folder).tensors["adapter"]
    assert all(torch.equal(own[name], tensor) for name, tensor in saved.items())


def test_a_run_that_stopped_between_two_scores_goes_on_with_them(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    config = short(patience=None, metric_for_best_model="main_metric")

    def scores(*values: float | None) -> Callable[[], float]:
        given = iter(values)

        def score() -> float:
            value = next(given)
            if value is None:
                raise KeyboardInterrupt
            return value

        return score

    _, whole = run_training(lora, config, "whole", dev_score=scores(50.0, 70.0, 60.0, 65.0))
    with pytest.raises(KeyboardInterrupt):
        run_training(lora, config, dev_score=scores(50.0, 70.0, None))
    _, result = run_training(lora, config, dev_score=scores(60.0, 65.0))
    assert result.resumed_from == 4
    assert (result.best_step, result.best_dev_score) == (4, 70.0)
    assert result.history == whole.history


def test_the_patience_counts_evaluations_without_a_higher_metric(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    config = short(max_steps=12, patience=2, metric_for_best_model="main_metric")
    given = iter([50.0, 60.0, 60.0, 55.0, 99.0, 99.0])
    _, result = run_training(lora, config, dev_score=lambda: next(given))
    assert (result.steps, result.stopped_early, result.best_step) == (8, True, 4)


def test_the_least_error_chooses_where_lower_is_better(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    config = short(max_steps=12, patience=2, metric_for_best_model="main_metric")
    given = iter([50.0, 40.0, 40.0, 45.0, 1.0, 1.0])
    _, result = run_training(lora, config, dev_score=lambda: next(given), lower_is_better=True)
    assert (result.steps, result.stopped_early, result.best_step) == (8, True, 4)
    assert result.best_dev_score == 40.0


def test_a_metric_is_not_called_for_where_the_loss_decides(
    run_training: Callable[..., Any], short: Callable[..., Any], lora: Any
) -> None:
    run_training(lora, short(max_steps=2), dev_score=lambda: pytest.fail("called"))
    with pytest.raises(TypeError, match="dev_score"):
        run_training(lora, short(metric_for_best_model="main_metric"), "other")


def test_checkpoints_from_before_there_was_a_metric_are_read() -> None:
    old = {"patience": 3, "best_step": 4, "best_dev_loss": 0.5, "num_waited": 1}
    stopping = EarlyStopping(**old)
    assert not stopping.update(6, 0.5)
    assert stopping.update(8, 0.4)


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
