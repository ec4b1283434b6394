"""Checkpoints: everything exact resume needs, the last two kept, a damaged one passed over.

Under the run's working folder, one subfolder a phase holds `checkpoint-<step>` (state to go on
from) and `best-<step>` (the best adapter, `adapter.safetensors`). A
checkpoint counts only together with the best adapter it names. Each is written whole
(`saved_folder.py`).
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from torch import Tensor

from pedro_bench.errors import RecordError
from pedro_bench.training.saved_folder import (
    DamagedFolderError,
    Saved,
    phase_folder,
    read_folder,
    read_manifest,
    remove_folder,
    remove_partial,
    write_folder,
)

SCHEMA = 2
"""Raised whenever the content of a checkpoint changes; another schema's is refused."""
NUM_KEPT = 2

_logger = logging.getLogger(__name__)


_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; it is refused by every other run.

    `phase` counts from 0 (search 0, then retraining 1). Random states are kept for each of `num_processes`.
    `schema` is SCHEMA of the writer.
    """

    key: str
    seed: int
    phase: int = 0
    num_processes: int = 1
    schema: int = SCHEMA


@dataclass(frozen=True)
class Checkpoint:
    """State after an optimiser step: plain values, and part -> name -> tensor.

    `best_step` is that of the best adapter, or 0 before the first evaluation. Parts are adapter, optimiser,
    runtime, random.
    """

    step: int
    best_step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


class CheckpointStore:
    """The checkpoints and best adapters of one phase of one run, in its working folder."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = phase_folder(folder, identity.phase)
        self.identity = identity

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then remove all but the last two with their best adapters."""
        state = {**checkpoint.state, "step": checkpoint.step, "best_step": checkpoint.best_step}
        saved = Saved(asdict(self.identity), state, checkpoint.tensors)
        write_folder(self.folder / f"checkpoint-{checkpoint.step:08d}", saved)
        self._remove_outdated()

    def save_best(self, step: int, dev_loss: float, adapter: Mapping[str, Tensor]) -> None:
        """Write the best adapter so far."""
        state = {"step": step, "dev_loss": dev_loss}
        saved = Saved(asdict(self.identity), state, {"adapter": adapter})
        write_folder(self.best_folder(step), saved)

    def best_folder(self, step: int) -> Path:
        """Return where the best adapter of a step lies."""
        return self.folder / f"best-{step:08d}"

    def load_best(self, step: int) -> Mapping[str, Tensor]:
        """Read the best adapter of a step.

        Raises:
            DamagedFolderError: If it is incomplete or changed.
        """
        return read_folder(self.best_folder(step)).tensors["adapter"]

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; damaged and later ones are logged and removed.

        Raises:
            RecordError: If a checkpoint belongs to another run, seed, phase or schema.
        """
        remove_partial(self.folder)
        for path in reversed(self._numbered("checkpoint")):
            try:
                checkpoint = self._read(path)
            except DamagedFolderError as damage:
                _logger.warning(
                    "%s is damaged (%s): the one before it is used, if any.", path, damage
                )
                continue
            self._remove_after(checkpoint.step)
            self._remove_outdated()
            return checkpoint
        self._remove_after(0)
        return None

    def last_step(self) -> int | None:
        """Return the step of the newest checkpoint by its name, or None."""
        numbered = self._numbered("checkpoint")
        return _step(numbered[-1]) if numbered else None

    def _read(self, path: Path) -> Checkpoint:
        self._check_identity(path, read_manifest(path)["header"])
        saved = read_folder(path)
        step, best_step = saved.state["step"], saved.state["best_step"]
        if best_step:
            try:
                read_folder(self.best_folder(best_step))
            except DamagedFolderError as damage:
                raise DamagedFolderError(
                    f"its best adapter of step {best_step}: {damage}"
                ) from damage
        return Checkpoint(step, best_step, saved.state, saved.tensors)

    def _check_identity(self, path: Path, found: Mapping[str, Any]) -> None:
        for name, wanted in asdict(self.identity).items():
            if found.get(name) != wanted:
                raise RecordError(
                    f"{path} must be a checkpoint of {name} {wanted}, got {found.get(name)}: "
                    "remove the folder or set output_dir to another place."
                )

    def _remove_after(self, step: int) -> None:
        """Remove what lies after a step, so it is neither counted as kept nor taken up later."""
        for kind in ("checkpoint", "best"):
            for path in self._numbered(kind):
                if _step(path) > step:
                    remove_folder(path)

    def _remove_outdated(self) -> None:
        """Remove all but the last two; a process killed right after writing left one more."""
        # Every evaluation writes a checkpoint, so the two kept name the last two best at most.
        for kind in ("checkpoint", "best"):
            for outdated in self._numbered(kind)[:-NUM_KEPT]:
                remove_folder(outdated)

    def _numbered(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-[0-9]*"), key=_step)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


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
