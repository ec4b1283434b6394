"""Schedule values by hand, decay groups, and the optimiser's state as named tensors."""

import pytest
import torch
from torch import nn

from pedro_bench.errors import TrainingError
from pedro_bench.training.config import LR_SCHEDULER_TYPES, TrainerConfig
from pedro_bench.training.optimiser import (
    build_optimiser,
    load_optimiser_tensors,
    optimiser_tensors,
    schedule_factor,
    set_lr,
    warmup_steps,
)


def test_schedule_by_hand() -> None:
    assert [warmup_steps(total, 0.06) for total in (10, 50, 51, 250)] == [1, 3, 4, 15]
    assert [warmup_steps(total, 0.06, 7) for total in (10, 250)] == [7, 7]
    assert warmup_steps(250, 0.06, 0) == 0
    factors = [schedule_factor(step, 10, 4) for step in range(11)]
    assert factors == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0], abs=1e-12
    )
    assert schedule_factor(0, 10, 0) == 1.0


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.06, 0.5, 1.0])
@pytest.mark.parametrize("name", LR_SCHEDULER_TYPES)
def test_schedule_is_the_one_of_transformers(name: str, warmup_ratio: float) -> None:
    from transformers import get_scheduler

    warmup = warmup_steps(37, warmup_ratio)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(name, optimiser, num_warmup_steps=warmup, num_training_steps=37)
    for step in range(37):
        ours = schedule_factor(step, 37, warmup, name)
        assert theirs.get_last_lr()[0] == pytest.approx(ours, abs=1e-12)
        optimiser.step()
        theirs.step()


def test_only_matrices_of_the_weights_are_decayed() -> None:
    layer = nn.Linear(3, 2)
    config = TrainerConfig(beta1=0.8, eps=1e-6)
    groups = build_optimiser(layer.parameters(), config, weight_decay=0.1).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (1, 0)]
    assert groups[0]["params"][0] is layer.weight
    assert (groups[0]["betas"], groups[0]["eps"]) == ((0.8, 0.999), 1e-6)
    both = build_optimiser(layer.parameters(), config, weight_decay=0.1, decays_vectors=True)
    assert [(len(group["params"]), group["weight_decay"]) for group in both.param_groups] == [
        (2, 0.1)
    ]


def make_pair() -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    return layer, build_optimiser(layer.parameters(), TrainerConfig(), weight_decay=0.0)


def step(layer: nn.Linear, optimiser: torch.optim.Optimizer, times: int) -> None:
    set_lr(optimiser, 0.1)
    for _ in range(times):
        optimiser.zero_grad()
        layer(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()


def test_state_goes_through_tensors_and_on_to_the_same_bits() -> None:
    whole, optimiser = make_pair()
    step(whole, optimiser, 5)

    first, before = make_pair()
    step(first, before, 2)
    names = {parameter: name for name, parameter in first.named_parameters()}
    tensors = optimiser_tensors({"weights": before}, names)
    assert set(tensors) == {
        f"weights|{name}|{entry}"
        for name in ("weight", "bias")
        for entry in ("step", "exp_avg", "exp_avg_sq")
    }
    second, after = make_pair()
    second.load_state_dict(first.state_dict())
    names = {parameter: name for name, parameter in second.named_parameters()}
    load_optimiser_tensors({"weights": after}, names, tensors)
    step(second, after, 3)
    assert torch.equal(second.weight, whole.weight)
    assert torch.equal(second.bias, whole.bias)


def test_state_of_an_unknown_parameter_is_refused() -> None:
    layer, optimiser = make_pair()
    names = {parameter: name for name, parameter in layer.named_parameters()}
    with pytest.raises(TrainingError, match=r"must belong to a trained parameter, got weights: w9"):
        load_optimiser_tensors({"weights": optimiser}, names, {"weights|w9|step": torch.ones(1)})
