"""Checkpoints: everything exact resume needs, the last two kept, a damaged one passed over.

Under the run's working folder, one subfolder a phase holds `checkpoint-<step>` (state to go on from) and
`best-<step>` (the best adapter, `adapter.safetensors`). A checkpoint counts only together with the best
adapter it names. Each is written whole (`saved_folder.py`).
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
