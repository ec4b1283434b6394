"""Due: which runs of a configuration are not finished, and which of them this worker gets; no torch.

A run is taken by a lease (`leases.py`). Whoever has taken one reads its record again, since another worker
may have finished it in between. With `accelerate launch` the main process takes runs and sends them to the
other ranks.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pedro_bench import files, records
from pedro_bench.distributed import is_main, is_one_of_several
from pedro_bench.errors import TrainingError
from pedro_bench.grid.held_lease import Lease
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.occupied import vacate
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import record_at, status_of
from pedro_bench.runs.environment import now
from pedro_bench.runs.identity import begun, run_key
from pedro_bench.runs.processes import agreed
from pedro_bench.training.interruption import interruption
from pedro_bench.training.saved_folder import remove_results, steps_saved, working_folder

MISSING = "missing"
"""Status in a plan of a run without a record, or with a damaged one."""


def plan(settings: Settings) -> list[tuple[int, Path, str]]:
    """Return (seed, path of the record, status) for every seed; the status is a record's, or MISSING.

    Raises:
        PedroBenchError: If data or backbone cannot be identified, or a record cannot be read or is
            of another schema.
    """
    return with_status(places(settings))


def places(settings: Settings) -> list[tuple[int, Path]]:
    """Return seed and path of the record for every seed."""
    place = partial(
        records.record_path,
        settings.results_dir,
        settings.suite,
        method=settings.method.name,
        task=settings.task.name,
        backbone=settings.backbone.name,
        key=run_key(settings),
    )
    return [(seed, place(seed=seed)) for seed in settings.seeds]


def with_status(found: list[tuple[int, Path]]) -> list[tuple[int, Path, str]]:
    """Return seeds and paths with the status of each."""
    return [(seed, path, status_of(path) or MISSING) for seed, path in found]


def due_of(settings: Settings, planned: list[tuple[int, Path, str]]) -> list[tuple[int, Path]]:
    """Return seed and path of the runs that a command would do, of those that were planned.

    Of a retry also those that a worker began and did not end: another's is safe by its lease.
    """
    if settings.retry:
        return [(seed, path) for seed, path, status in planned if status in ("failed", "running")]
    return [
        (seed, path)
        for seed, path, status in planned
        if settings.rerun or status != "finished" or not records.has_predictions(path)
    ]


def was_done(path: Path, seen: Mapping[str, str]) -> bool:
    """Whether a worker has ended a run since `digests` said what was seen."""
    return not _is_as_seen(path, seen) and status_of(path) in ("finished", "failed")


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return hashes that show whether records are changed later, by a new run of the same result too."""
    found = ((str(path.absolute()), _digest(path)) for path in paths)
    return {path: digest for path, digest in found if digest}


def _is_as_seen(path: Path, seen: Mapping[str, str]) -> bool:
    return _digest(path) == seen.get(str(path.absolute()), "")


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""


LONGEST_PAUSE = 5.0
"""Seconds between two looks at a run that another worker has."""

MOST_CRASHES = 2
"""A run in which so many workers died, and got no further in between, is recorded as failed."""


class Claims(Iterator[tuple[int, Path]]):
    """Iterates over seed and record of the runs that are this worker's; each is held until the next.

    `seen` is what `digests` said when the command began; `grid` names the command in leases; no other run
    begins once `is_stopped`.

    Attributes:
        left: Those that are not done, but for the one at hand.
        current: Path of the record of the one at hand, in every process that shares it.
    """

    def __init__(
        self,
        settings: Settings,
        due: Sequence[tuple[int, Path]],
        seen: Mapping[str, str],
        grid: str = "",
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.left = list(due)
        self.settings = settings
        folder = records.suite_folder(settings.results_dir, settings.suite)
        self.leases = Leases(folder, settings.lease_seconds, command=grid)
        self.current: Path | None = None
        self._seen, self._is_stopped = seen, is_stopped
        self._held: tuple[int, Path, Lease] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the run that is held was taken away by another worker, and others may be taken."""
        is_lost = self._held is not None and self._held[2].is_lost
        return is_lost and not is_one_of_several()

    @property
    def is_begun(self) -> bool:
        """Whether the run at hand was begun, by whichever worker, since `seen` was."""
        if self.current is None or _is_as_seen(self.current, self._seen):
            return False
        return status_of(self.current) == "running"

    def check(self) -> None:
        """Go on only with a run that is still this worker's: to be called before its files are written."""
        if self._held is not None:
            self._held[2].notice_loss()
        interruption.leave_if_asked()

    def __next__(self) -> tuple[int, Path]:
        """Give the run before back and take one that is free; those that others have stay `left`."""
        self.give_back()
        self.current = None
        seed = self._take() if is_main() else None
        seed, left = agreed((seed, [one for one, _ in self.left]))
        claims = {one: (one, path) for one, path in self.left}
        self.left = [claims[one] for one in left if one != seed]
        if seed is None:
            raise StopIteration
        self.current = claims[seed][1]
        return claims[seed]

    def give_back(self) -> None:
        """Give back the run that is held, if any; one that was taken away is left to its holder."""
        if self._held is not None:
            seed, path, lease = self._held
            self._held = None
            is_done = False
            if not lease.is_lost:
                vacate(self.settings, path)
            try:
                status = status_of(path)
                is_done = status in (None, "finished")  # None: it never began
                if status != "running":
                    lease.crashes = 0
            finally:
                lease.release(is_done=is_done)
            if lease.is_lost:
                interruption.forget()
                self.left.append((seed, path))

    def wait(self) -> None:
        """Let other workers go on for a while."""
        time.sleep(min(self.settings.lease_seconds / 3, LONGEST_PAUSE))

    def _take(self) -> int | None:
        for seed, path in list(self.left):
            if self._is_stopped():
                self.left.clear()
                return None
            lease = None if was_done(path, self._seen) else self._lease(path)
            if lease is not None:
                self._held = (seed, path, lease)
                if not was_done(path, self._seen):
                    if path.is_file() and status_of(path) is None:
                        records.set_aside(path)
                    if lease.crashes < MOST_CRASHES:
                        return seed
                    self._record_crashes(seed, path)
                self.give_back()
            elif not was_done(path, self._seen):
                continue
            self.left.remove((seed, path))
        return None

    def _lease(self, path: Path) -> Lease | None:
        steps = steps_saved(working_folder(self.settings, path))
        return self.leases.take(path.stem, self._on_loss, steps)

    def _record_crashes(self, seed: int, path: Path) -> None:
        """Record a run as failed that no worker has survived."""
        settings, moment = self.settings, now()
        known = record_at(path)
        if known is None or known.status != "running":
            known = begun(settings, seed, path, moment)
        error = (
            f"a run must leave its process alive, got {MOST_CRASHES} workers that died in this one, as "
            "where memory runs out: set workers=1 or a smaller trainer.micro_batch_size, and retry=true."
        )
        remove_results(working_folder(settings, path), path)
        failed = known.changed(
            status="failed", error=error, error_type=TrainingError.__name__, finished=moment
        )
        records.write(failed, settings.results_dir)

    @staticmethod
    def _on_loss() -> None:
        interruption.ask("another worker has taken the run over.", saves=False)
