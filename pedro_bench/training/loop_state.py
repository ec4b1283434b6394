"""Loop state: the plain values of a training in progress, as a checkpoint keeps them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass
class LoopState:
    """Where a training stands.

    Attributes:
        step: Optimiser steps taken.
        history: One entry per evaluation, as in `TrainResult`.
        loss_sum: Training loss summed over answer tokens since the last evaluation, in nats.
        num_answer_tokens: Those tokens.
        num_tokens: Prompt and answer tokens trained on so far.
        step_seconds: Time of the steps alone.
        train_seconds: Time of steps, evaluations and their files.
        last_loss: Loss of the last step, per answer token.
        last_lr: Learning rate of the last step.
        is_finished: Whether training is over.
        stopped_early: Whether the patience ended it.
        peak_memory_bytes: Highest peak of GPU memory over all starts, or None on a CPU.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    num_answer_tokens: int = 0
    num_tokens: int = 0
    step_seconds: float = 0.0
    train_seconds: float = 0.0
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

    def close_interval(self, *, epoch: float, dev_loss: float) -> None:
        """Write down an evaluation, and begin a new mean of the training loss."""
        self.history.append(
            {
                "step": self.step,
                "epoch": epoch,
                "train_loss": self.loss_sum / self.num_answer_tokens,
                "dev_loss": dev_loss,
                "lr": self.last_lr,
            }
        )
        self.loss_sum, self.num_answer_tokens = 0.0, 0

    def to_json(self) -> dict[str, Any]:
        """Return all values as JSON takes them; floats survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Take back what `to_json` gave."""
        return cls(**values)
