"""Early stopping: remember the lowest dev loss, and stop when it has not fallen for a while."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

_Row = TypeVar("_Row")


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


def stopping_rows(rows: Sequence[_Row], most: int | None) -> Sequence[_Row]:
    """Return the dev rows whose loss decides: all, or `most` of them in their order.

    The draw depends on the number of rows alone, so every method and seed is stopped by the same rows.
    """
    if most is None or most >= len(rows):
        return rows
    return [rows[index] for index in sorted(random.Random(0).sample(range(len(rows)), most))]
