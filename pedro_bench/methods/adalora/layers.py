"""AdaLoRA's layer, a low-rank update in the form of an SVD, and the allocator of its budget of ranks.

For every entry w of A, E and B, with its gradient g at each step,

    I = |w g|,   Ibar = beta1 Ibar + (1 - beta1) I,   Ubar = beta2 Ubar + (1 - beta2) |I - Ibar|

    s(w) = Ibar Ubar                                                    (8) to (11) of arXiv:2303.10512
    S_i = s(E_i) + mean_j s(A_ij) + mean_j s(B_ji)                      (7)

and the triplets with the highest S keep their singular value; the others' is set to zero. A triplet at
zero may come back, until the last allocation fixes the choice.

Legend: R rank, I in-features, O out-features, N triplets of all matrices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pedro_bench.errors import TrainingError
from pedro_bench.nn.tenant_blocks import TenantBlock, TenantUpdate, tenant_block

_INIT_STD = 0.02
_EPSILON = 1e-5
"""The authors' code divides by R + 1e-5."""


class SvdUpdate(nn.Module):
    """alpha / (R + 1e-5) * dropout(x) (diag(E) A)^T B^T, in float32, cast to the dtype of the map.

    Under autocast (training on a GPU) its products are in bfloat16, as peft's are.

    A and B are N(0, 0.02^2), E is zero: it starts as nothing. An entry of E at zero switches its row
    of A and its column of B off; R in the scaling stays what it was.

    Args:
        inputs: I.
        outputs: O.
        r: Rank R at the start, at least 1.
        alpha: Numerator of the scaling.
        dropout: Probability of dropping an input feature in training, in [0, 1).

    Attributes:
        lora_A: Right singular vectors, (R, I).
        lora_E: Singular values, (R, 1).
        lora_B: Left singular vectors, (O, R).
    """

    def __init__(self, inputs: int, outputs: int, r: int, *, alpha: float, dropout: float) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(r, inputs).normal_(0.0, _INIT_STD))
        self.lora_E = nn.Parameter(torch.zeros(r, 1))
        self.lora_B = nn.Parameter(torch.empty(outputs, r).normal_(0.0, _INIT_STD))
        self.scaling = alpha / (r + _EPSILON)
        self.dropout = dropout

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Return `base` (…, O) plus the update of `x` (…, I)."""
        kept = F.dropout(x.to(self.lora_A.dtype), self.dropout, self.training)
        update = F.linear(F.linear(kept, self.lora_A * self.lora_E), self.lora_B) * self.scaling
        return base + update.to(base.dtype)


class TenantSvdUpdate(TenantUpdate):
    """`SvdUpdate` for many tenants: a low-rank update with the rows of A times the singular values."""

    training_only: ClassVar[tuple[str, ...]] = (
        *("r", "dropout", "tinit_ratio", "tfinal_ratio", "deltaT"),
        *("beta1", "beta2", "orth_reg_weight"),
    )

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep diag(E) A (R, I) and B (O, R)."""
        return {"lora_A": tensors["lora_A"] * tensors["lora_E"], "lora_B": tensors["lora_B"]}


tenant_block.register(SvdUpdate, TenantSvdUpdate)


def svd_updates(adapter: nn.Module) -> dict[str, SvdUpdate]:
    """Return every `SvdUpdate` of an adapter by its path."""
    return {
        path: module for path, module in adapter.named_modules() if isinstance(module, SvdUpdate)
    }


def orthogonality(updates: Mapping[str, SvdUpdate]) -> Tensor:
    """Return the mean of ||A A^T - I|| and ||B^T B - I|| (Frobenius): how far they are from orthonormal."""
    distances = []
    for update in updates.values():
        for gram_RR in (update.lora_A @ update.lora_A.t(), update.lora_B.t() @ update.lora_B):
            identity_RR = torch.eye(gram_RR.shape[0], dtype=gram_RR.dtype, device=gram_RR.device)
            distances.append(torch.linalg.matrix_norm(gram_RR - identity_RR))
    return torch.stack(distances).mean()


_PARTS = ("lora_A", "lora_E", "lora_B")
_AVERAGES = ("sensitivity", "uncertainty")
_KEPT = "kept"
_SEPARATOR = "|"


@dataclass(frozen=True, kw_only=True)
class RankSchedule:
    """How the budget shrinks: whole, then by the third power, then fixed (eq. 12).

    No allocation up to `first_step`, one every `interval` steps, the last at `last_step`. The average rank
    falls from `start` to `end`.
    """

    first_step: int
    last_step: int
    interval: int
    start: int
    end: int

    def __post_init__(self) -> None:
        # The scores at the last allocation come from the steps before it.
        if self.last_step < 2 or self.first_step >= self.last_step:
            raise TrainingError(
                "a training of adalora must have at least 2 steps before method.tfinal_ratio begins, "
                f"and more than in method.tinit_ratio ({self.first_step}), got {self.last_step}: "
                "raise trainer.max_steps or lower the ratios."
            )

    def is_due(self, step: int) -> bool:
        """Whether ranks are allocated after a step (from 1)."""
        is_between = self.first_step < step < self.last_step
        return step == self.last_step or (is_between and step % self.interval == 0)

    def budget(self, step: int, num_matrices: int) -> int:
        """Return how many triplets may keep their singular value after a step that `is_due`."""
        remaining = 1 - (step - self.first_step) / (self.last_step - self.first_step)
        start, end = self.start * num_matrices, self.end * num_matrices
        return int((start - end) * remaining**3 + end)


class RankAllocator(nn.Module):
    """The allocator's memory, and its action after every optimiser step; it has no parameters.

    Args:
        beta1: Decay of the sensitivity's average, in (0, 1).
        beta2: Decay of the uncertainty's average, in (0, 1).

    Attributes:
        averages: `path.part` of an entry of the adapter -> its (Ibar, Ubar); empty before the first
            step and after the last allocation.
        kept: Path of an update -> mask (R,) of the triplets kept by the newest allocation.
    """

    def __init__(self, *, beta1: float, beta2: float) -> None:
        super().__init__()
        self.beta1 = beta1
        self.beta2 = beta2
        self.averages: dict[str, tuple[Tensor, Tensor]] = {}
        self.kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def act(self, updates: Mapping[str, SvdUpdate], step: int, schedule: RankSchedule) -> None:
        """Act after an optimiser step (from 1) on all updates; the gradients of the step must be there."""
        if step < schedule.last_step:
            self._take_gradients(updates)
        if schedule.is_due(step):
            self._allocate(updates, schedule.budget(step, len(updates)))
        if step == schedule.last_step:
            self.averages = {}
        if schedule.is_due(step) or step > schedule.last_step:
            for path, update in updates.items():
                update.lora_E.masked_fill_(~self.kept[path].unsqueeze(1), 0.0)

    def _take_gradients(self, updates: Mapping[str, SvdUpdate]) -> None:
        for path, update in updates.items():
            for part in _PARTS:
                parameter = update.get_parameter(part)
                assert parameter.grad is not None  # the trainer calls this right after a step
                now = (parameter * parameter.grad).abs()
                zero = torch.zeros_like(now)
                sensitivity, uncertainty = self.averages.get(f"{path}.{part}", (zero, zero))
                sensitivity = self.beta1 * sensitivity + (1 - self.beta1) * now
                spread = (now - sensitivity).abs()
                uncertainty = self.beta2 * uncertainty + (1 - self.beta2) * spread
                self.averages[f"{path}.{part}"] = (sensitivity, uncertainty)

    def _allocate(self, updates: Mapping[str, SvdUpdate], budget: int) -> None:
        """Keep the `budget` triplets with the highest scores; of equal ones, those that come first."""
        scores_N = torch.cat([self._scores(path) for path in updates])
        best = scores_N.argsort(descending=True, stable=True)[:budget]
        kept_N = torch.zeros_like(scores_N, dtype=torch.bool)
        kept_N[best] = True
        masks = kept_N.split([update.lora_E.shape[0] for update in updates.values()])
        self.kept = dict(zip(updates, (mask.clone() for mask in masks), strict=True))

    def _scores(self, path: str) -> Tensor:
        """Return S of one update's triplets, (R,)."""
        score_RI, score_R1, score_OR = (
            sensitivity * uncertainty
            for sensitivity, uncertainty in (self.averages[f"{path}.{part}"] for part in _PARTS)
        )
        return score_R1.squeeze(1) + score_RI.mean(dim=1) + score_OR.mean(dim=0)

    def runtime_state(self) -> dict[str, Tensor]:
        """Return averages and masks on the CPU, by name."""
        state = {_join(_KEPT, path): mask for path, mask in self.kept.items()}
        for name, pair in self.averages.items():
            state |= {_join(kind, name): value for kind, value in zip(_AVERAGES, pair, strict=True)}
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def load_runtime_state(
        self, state: Mapping[str, Tensor], updates: Mapping[str, SvdUpdate]
    ) -> None:
        """Take back what `runtime_state` gave, to the devices of the updates."""
        self.kept = {
            path: state[_join(_KEPT, path)].to(update.lora_E.device, copy=True)
            for path, update in updates.items()
            if _join(_KEPT, path) in state
        }
        self.averages = {}
        for path, update in updates.items():
            for name in (f"{path}.{part}" for part in _PARTS):
                if _join(_AVERAGES[0], name) in state:
                    sensitivity, uncertainty = (
                        state[_join(kind, name)].to(update.lora_E.device, copy=True)
                        for kind in _AVERAGES
                    )
                    self.averages[name] = (sensitivity, uncertainty)


tenant_block.register(RankAllocator, TenantBlock)  # it has no tensors and acts in training alone


def _join(kind: str, name: str) -> str:
    return _SEPARATOR.join((kind, name))
