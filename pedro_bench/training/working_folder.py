"""A run's working folder: where its phases' checkpoints lie, and how they are removed; imports no torch."""

import shutil
from pathlib import Path

from pedro_bench.protocols.settings import Settings


def working_folder(settings: Settings, path: Path) -> Path:
    """Return the folder of a run's checkpoints and adapter, from the path of its record."""
    return Path(settings.output_dir) / settings.suite / path.stem


def phase_folder(folder: Path, phase: int) -> Path:
    """Return where a phase's checkpoints lie in a run's working folder."""
    return folder / f"phase-{phase}"


def restart(folder: Path) -> None:
    """Remove what a resumed run would go on with: the run is finished, or starts afresh."""
    for phase in folder.glob("phase-*"):
        shutil.rmtree(phase)
    for identifier in folder.glob("tracking-*"):
        identifier.unlink(missing_ok=True)


def steps_saved(folder: Path) -> int:
    """Return up to which step checkpoints reach, all phases together; 0 where there are none."""
    newest: dict[str, int] = {}
    for path in folder.glob("phase-*/checkpoint-[0-9]*"):
        step = int(path.name.rpartition("-")[2])
        newest[path.parent.name] = max(step, newest.get(path.parent.name, 0))
    return sum(newest.values())
