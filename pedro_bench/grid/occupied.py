"""Occupied folders: a run's working folder is used for one results_dir at a time.

Leases lie in a results_dir, so commands with different ones and one output_dir do not see each other's. They
would train one run in one working folder and remove each other's checkpoints. So whoever holds a run's lease
leaves the path of its record in the folder; another results_dir's worker refuses the folder while that lease
is held. The path is written before the others are looked for, so of two that begin together at least one
refuses.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from pedro_bench.errors import ConfigError
from pedro_bench.grid.leases import Leases
from pedro_bench.protocols.settings import SHORTEST_LEASE, Settings
from pedro_bench.records import results_folder
from pedro_bench.runs.processes import on_main
from pedro_bench.training.saved_folder import working_folder

_PREFIX = "record-"


def occupying(settings: Settings, due: Iterable[tuple[int, Path]]) -> Iterator[tuple[int, Path]]:
    """Yield seed and record of each run, which this worker holds, once its working folder is this worker's.

    Raises:
        ConfigError: If the same run is trained there now for another results_dir.
    """
    for seed, path in due:
        on_main(partial(_occupy, settings, path))
        yield seed, path


def _occupy(settings: Settings, record: Path) -> None:
    """Leave a record's path; a folder that cannot be written is no fault here, as the training says so."""
    folder = working_folder(settings, record)
    own = _note(folder, record)
    now = time.time()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        own.write_text(str(_place(record)), encoding="utf-8")
        now = own.stat().st_mtime
    for other in sorted(folder.glob(f"{_PREFIX}*")):
        if other != own and (place := _held_record(other, record, now)) is not None:
            vacate(settings, record)
            raise ConfigError(
                "output_dir must be of one results_dir while a run is trained, got "
                f"{settings.output_dir!r}, where a command with results_dir={str(results_folder(place))!r} "
                f"trains {record.stem} now: set another output_dir, or wait until that run has ended."
            )


def vacate(settings: Settings, record: Path) -> None:
    """Take the path out of the folder again."""
    with contextlib.suppress(OSError):  # the run has ended, whatever the file system says
        _note(working_folder(settings, record), record).unlink(missing_ok=True)


def _note(folder: Path, record: Path) -> Path:
    return folder / f"{_PREFIX}{hashlib.sha256(str(_place(record)).encode()).hexdigest()[:12]}"


def _place(record: Path) -> Path:
    """Return the absolute path of a record, which may be a link itself."""
    return record.parent.resolve() / record.name


def _held_record(note: Path, own: Path, now: float) -> Path | None:
    """Return the record of a note if its run is held by a worker; of an own one by another path nothing.

    A holder on another machine that has shown no sign of life for its lease at `now` is dead: nothing else
    is known of its process.
    """
    with contextlib.suppress(OSError):
        record = Path(note.read_text(encoding="utf-8"))
        is_own = record.parent.samefile(own.parent)
        leases = Leases(record.parent, SHORTEST_LEASE)
        is_held = leases.is_held(record.stem) and not leases.has_lapsed_by_file_time(
            record.stem, now
        )
        if not is_own and is_held:
            return record
    return None
