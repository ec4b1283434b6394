"""TrainResult: what one phase of training hands to the composition root."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How one phase of training went; the best adapter is loaded in the model.

    Attributes:
        history: One entry per evaluation: step, epoch (passes over the rows so far), train_loss
            (token mean since the evaluation before), dev_loss (token mean), lr (rate of the last
            step).
        best_step: Step with the lowest dev loss, of those that the method lets be the best.
        best_dev_loss: That loss.
        steps: Optimiser steps taken.
        stopped_early: Whether the patience ran out before the schedule.
        train_seconds: Time of all steps, evaluations and checkpoints that count, over all restarts.
        tokens_per_second: Prompt and answer tokens trained on per second of steps alone.
        peak_memory_bytes: Highest GPU memory in use, or None on a CPU.
        resumed_from: Step of the checkpoint this process started from, or None.
        best_folder: Where the best adapter lies (`adapter.safetensors`).
    """

    history: tuple[Mapping[str, float], ...]
    best_step: int
    best_dev_loss: float
    steps: int
    stopped_early: bool
    train_seconds: float
    tokens_per_second: float
    peak_memory_bytes: int | None
    resumed_from: int | None
    best_folder: Path
