"""A run's working folder: where its phases' checkpoints lie, and how they are removed; imports no torch."""

import shutil
from pathlib import Path


def phase_folder(folder: Path, phase: int) -> Path:
    """Return where a phase's checkpoints lie in a run's working folder."""
    return folder / f"phase-{phase}"


def restart(folder: Path) -> None:
    """Remove all phases' checkpoints and best adapters: the run is finished, or starts afresh."""
    for phase in folder.glob("phase-*"):
        shutil.rmtree(phase)
