"""Progress: a bar with loss, tokens/s and time left on a terminal; elsewhere a log line.

All of it goes to standard error; standard output belongs to results.
"""

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows how far one phase of training is; use it in a `with` block.

    Args:
        title: What is trained, such as `pedro seed 0`.
        total_steps: Length of the schedule.
        is_shown: False on all but the main process.
    """

    def __init__(self, title: str, total_steps: int, *, is_shown: bool = True) -> None:
        self._title = title
        self._total_steps = total_steps
        self._is_shown = is_shown
        self._bar = self._make_bar() if is_shown and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=self._total_steps, loss=float("nan"), rate=0.0
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Move the bar to a step."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, loss=loss, rate=tokens_per_second)

    def evaluation(
        self, entry: Mapping[str, float], tokens_per_second: float, *, is_best: bool
    ) -> None:
        """Tell the outcome of one evaluation."""
        if not self._is_shown:
            return
        line = (
            f"{self._title}: step {entry['step']:.0f} of {self._total_steps}, "
            f"train loss {entry['train_loss']:.4f}, dev loss {entry['dev_loss']:.4f}"
            f"{' (best so far)' if is_best else ''}, {tokens_per_second:,.0f} tokens/s"
        )
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            _logger.info("%s", line)

    def _make_bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
