"""Early stopping: remember the lowest dev loss, and stop when it has not fallen for a while."""

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """The lowest dev loss so far and how long ago it was.

    Attributes:
        patience: Evaluations without a strictly lower dev loss after which `is_over` holds, or None if it
            never does.
        best_step: Step of the lowest dev loss, or 0 before the first evaluation.
        best_dev_loss: The lowest dev loss, or None before the first evaluation.
        num_waited: Evaluations since then.
    """

    patience: int | None
    best_step: int = 0
    best_dev_loss: float | None = None
    num_waited: int = 0

    def update(self, step: int, dev_loss: float) -> bool:
        """Take in one evaluation; return whether it is the best so far (an equal loss is not)."""
        if self.best_dev_loss is None or dev_loss < self.best_dev_loss:
            self.best_step, self.best_dev_loss, self.num_waited = step, dev_loss, 0
            return True
        self.num_waited += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.num_waited >= self.patience
