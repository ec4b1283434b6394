"""Where a training stands: its steps and evaluations, the best of them, and what is left of it at the end."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

_Row = TypeVar("_Row")


@dataclass
class LoopState:
    """Where a training stands.

    Attributes:
        step: Optimiser steps taken; `last_loss` (per answer token) and `last_lr` are those of the last.
        history: One entry per evaluation, as in `TrainResult`.
        loss_sum: Training loss summed over `num_answer_tokens` since the last evaluation, in nats.
        num_tokens: Prompt and answer tokens trained on so far.
        step_seconds: Time of the steps alone; `train_seconds` with evaluations, without checkpoints.
        train_joules: Energy of the device in steps and evaluations, None where it is not known of all.
        is_finished: Whether training is over; `stopped_early` whether the patience ended it.
        peak_memory_bytes: Highest peak of GPU memory over all starts, or None on a CPU.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    num_answer_tokens: int = 0
    num_tokens: int = 0
    step_seconds: float = 0.0
    train_seconds: float = 0.0
    train_joules: float | None = 0.0
    last_loss: float = 0.0
    last_lr: float = 0.0
    is_finished: bool = False
    stopped_early: bool = False
    peak_memory_bytes: int | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens trained on per second of steps."""
        return self.num_tokens / self.step_seconds if self.step_seconds else 0.0

    def take_loss(self, loss: float, num_answer_tokens: int) -> None:
        """Add one step's loss per answer token."""
        self.last_loss = loss
        self.loss_sum += loss * num_answer_tokens
        self.num_answer_tokens += num_answer_tokens

    def close_interval(self, *, epoch: float, dev_loss: float, dev_score: float | None) -> None:
        """Write down an evaluation, and begin a new mean of the training loss."""
        entry = {
            "step": self.step,
            "epoch": epoch,
            "train_loss": self.loss_sum / self.num_answer_tokens,
            "dev_loss": dev_loss,
            "lr": self.last_lr,
        }
        if dev_score is not None:
            entry["dev_score"] = dev_score
        self.history.append(entry)
        self.loss_sum, self.num_answer_tokens = 0.0, 0

    def to_json(self) -> dict[str, Any]:
        """Return all values as JSON takes them; floats survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Take back what `to_json` gave; older checkpoints say nothing of energy."""
        return cls(**{"train_joules": None, **values})


@dataclass
class EarlyStopping:
    """The best evaluation so far and how long ago it was; None or 0 before the first evaluation.

    The best has the highest dev score where there is one (the lowest, where `lower_is_better`), else the
    lowest dev loss. `is_over` after `patience` evaluations without a strictly better one, never if that is
    None.
    """

    patience: int | None
    best_step: int = 0
    best_dev_loss: float | None = None
    num_waited: int = 0
    best_dev_score: float | None = None
    lower_is_better: bool = False

    def update(self, step: int, dev_loss: float, dev_score: float | None = None) -> bool:
        """Take in one evaluation; return whether it is the best so far (an equal one is not)."""
        if self._is_better(dev_loss, dev_score):
            self.best_step, self.best_dev_loss, self.num_waited = step, dev_loss, 0
            self.best_dev_score = dev_score
            return True
        self.num_waited += 1
        return False

    def _is_better(self, dev_loss: float, dev_score: float | None) -> bool:
        if self.best_dev_loss is None:
            return True
        if dev_score is None or self.best_dev_score is None:
            return dev_loss < self.best_dev_loss
        if self.lower_is_better:
            return dev_score < self.best_dev_score
        return dev_score > self.best_dev_score

    @property
    def is_over(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.num_waited >= self.patience


def stopping_rows(rows: Sequence[_Row], most: int | None) -> Sequence[_Row]:
    """Return the dev rows whose loss decides: all, or `most` of them in their order.

    The draw depends on the number of rows alone, so every method and seed is stopped by the same rows.
    """
    if most is None or most >= len(rows):
        return rows
    return [rows[index] for index in sorted(random.Random(0).sample(range(len(rows)), most))]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How one phase of training went; the best adapter is loaded in the model.

    Attributes:
        history: One entry per evaluation: step, epoch (passes over the rows so far), train_loss (token
            mean since the evaluation before), dev_loss (token mean), lr (rate of the last step), and
            dev_score (percent) where the main metric decides.
        best_step: Step of the best evaluation, of those that the method lets be the best.
        best_dev_loss: Its dev loss.
        best_dev_score: Its dev score, or None where the dev loss decides.
        steps: Optimiser steps taken.
        stopped_early: Whether the patience ran out before the schedule.
        train_seconds: Time of all steps and evaluations that count, over all restarts.
        train_joules: Energy of the device in steps and evaluations, None where it is not known of all.
        tokens_per_second: Prompt and answer tokens trained on per second of steps alone.
        peak_memory_bytes: Highest GPU memory in use, or None on a CPU.
        resumed_from: Step of the checkpoint this process started from, or None.
        best_folder: Where the best adapter lies (`adapter.safetensors`).
    """

    history: tuple[Mapping[str, float], ...]
    best_step: int
    best_dev_loss: float
    best_dev_score: float | None
    steps: int
    stopped_early: bool
    train_seconds: float
    train_joules: float | None
    tokens_per_second: float
    peak_memory_bytes: int | None
    resumed_from: int | None
    best_folder: Path
