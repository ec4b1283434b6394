"""Muon for the matrices, AdamW for embeddings and norms.

Muon (Jordan et al. 2024) takes the momentum's nearest orthogonal matrix as the step. On this model it
learns to copy and to look up in far fewer tokens than AdamW alone. Written here in float32, because
torch's own works in bfloat16, which is slow on processors without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Bring all singular values near one with five Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    flip = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if flip else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: torch.Tensor = x.T if flip else x
    return orthogonal


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal.

    Args:
        parameters: Matrices.
        lr: Length of a step: the update's singular values are `lr` times sqrt(max(1, rows / columns)).
        momentum: Nesterov momentum.
        weight_decay: Decoupled decay, relative to `lr`.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(gradient, 1 - group["momentum"])
                update = orthogonalise(gradient.lerp(state["momentum"], group["momentum"]))
                stretch = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * stretch)


def build(
    model: torch.nn.Module, *, lr: float, muon_lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Make both optimisers.

    Args:
        model: The model.
        lr: AdamW's learning rate.
        muon_lr: Muon's learning rate.
        weight_decay: Decay of the matrices and of the embedding.
    """
    matrices: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    embeddings: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if "embed" in name or "lm_head" in name:
            embeddings.append(parameter)
        else:
            (matrices if parameter.ndim == 2 else vectors).append(parameter)
    adam = torch.optim.AdamW(
        [
            {"params": embeddings, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=lr,
        betas=(0.9, 0.98),
    )
    muon = Muon(matrices, lr=muon_lr, weight_decay=weight_decay)
    for optimizer in (adam, muon):
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return [adam, muon]
