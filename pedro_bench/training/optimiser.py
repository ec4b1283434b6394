"""Optimiser and schedule: AdamW, warm-up and decay, and their state as named tensors.

The factor on the learning rate at optimiser step k (from 0) of n, with w = ceil(warmup_ratio * n) and
t = (k - w) / (n - w), is that of Hugging Face Transformers' schedule of the same name:

    k / w                      while k < w (not under `constant`), so the first step has a rate of 0
    1 - t                      linear
    (1 + cos(pi t)) / 2        cosine
    1                          constant, constant_with_warmup
    sqrt(s / (k - w + s))      inverse_sqrt, with s = w, or 10,000 without warm-up

It is a pure function of the step, so resuming has nothing to restore but the step.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from pedro_bench.errors import TrainingError
from pedro_bench.training.config import TrainerConfig

_SEPARATOR = "|"
_TIMESCALE = 10_000
"""Transformers' timescale of `inverse_sqrt` without warm-up."""


def warmup_steps(total_steps: int, warmup_ratio: float, number: int | None = None) -> int:
    """Return the number of steps in which the learning rate rises: `number`, or by the ratio."""
    return math.ceil(total_steps * warmup_ratio) if number is None else number


def schedule_factor(
    step: int, total_steps: int, num_warmup: int, lr_scheduler_type: str = "linear"
) -> float:
    """Return the factor on the learning rate at a step, in [0, 1].

    Args:
        step: Optimiser steps already taken, from 0.
        total_steps: Length of the schedule.
        num_warmup: Steps of warm-up.
        lr_scheduler_type: One of `config.LR_SCHEDULER_TYPES`.
    """
    if lr_scheduler_type == "constant":
        return 1.0
    if step < num_warmup:
        return step / max(1, num_warmup)
    if lr_scheduler_type == "constant_with_warmup":
        return 1.0
    if lr_scheduler_type == "inverse_sqrt":
        timescale = num_warmup or _TIMESCALE
        return math.sqrt(timescale / (step - num_warmup + timescale))
    rest = max(1, total_steps - num_warmup)
    if lr_scheduler_type == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - num_warmup) / rest)))
    return max(0.0, (total_steps - step) / rest)


def build_optimiser(
    parameters: Iterable[Parameter],
    config: TrainerConfig,
    *,
    weight_decay: float,
    decays_vectors: bool = False,
) -> torch.optim.AdamW:
    """Make AdamW over some parameters; its learning rate is set before every step.

    Args:
        parameters: The parameters it updates.
        config: Moments' decay rates and epsilon.
        weight_decay: Decay of matrices.
        decays_vectors: Whether vectors and scalars are decayed too. A scale or bias should not be
            pulled towards 0, so the weights leave them out unless `trainer.decays_vectors` is set.
    """
    chosen = list(parameters)
    matrices = [p for p in chosen if decays_vectors or p.ndim >= 2]
    vectors = [p for p in chosen if not (decays_vectors or p.ndim >= 2)]
    groups = [
        {"params": members, "weight_decay": decay}
        for members, decay in ((matrices, weight_decay), (vectors, 0.0))
        if members
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.eps)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def optimiser_tensors(
    optimisers: Mapping[str, torch.optim.Optimizer], names: Mapping[Tensor, str]
) -> dict[str, Tensor]:
    """Flatten optimisers' states into `optimiser|parameter|entry` -> tensor on the CPU."""
    return {
        _SEPARATOR.join((group, names[parameter], entry)): torch.as_tensor(value).detach().cpu()
        for group, optimiser in optimisers.items()
        for parameter, state in optimiser.state.items()
        for entry, value in state.items()
    }


def load_optimiser_tensors(
    optimisers: Mapping[str, torch.optim.Optimizer],
    names: Mapping[Tensor, str],
    tensors: Mapping[str, Tensor],
) -> None:
    """Take back what `optimiser_tensors` gave.

    Raises:
        TrainingError: If the state belongs to a parameter that the method does not train.
    """
    parameters = {name: parameter for parameter, name in names.items()}
    for optimiser in optimisers.values():
        optimiser.state.clear()
    for key, tensor in tensors.items():
        group, name, entry = key.split(_SEPARATOR)
        if group not in optimisers or name not in parameters:
            raise TrainingError(
                "optimiser state of a checkpoint must belong to a trained parameter, got "
                f"{group}: {name}."
            )
        parameter = parameters[name]
        # AdamW counts its steps in a tensor on the CPU, whatever the parameter's device.
        device = torch.device("cpu") if entry == "step" else parameter.device
        optimisers[group].state[parameter][entry] = tensor.clone().to(device)
