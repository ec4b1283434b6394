"""Claims: of the due runs of a configuration those that this worker gets to do, one after another.

A worker goes through the due runs and takes the first that is free, by its lease (`leases`). Then it reads
the run's record again, since another worker may have ended the run before the lease was taken. While the run
is trained its lease is held; the next run begins once the lease is given back. Runs that others hold remain,
and are looked at again as long as the worker waits.

With `accelerate launch` the main process takes runs and sends them to the other ranks.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pedro_bench import records
from pedro_bench.distributed import is_main, is_one_of_several
from pedro_bench.errors import TrainingError
from pedro_bench.grid.held_lease import Lease
from pedro_bench.grid.leases import Leases, seconds_between_looks
from pedro_bench.grid.occupied import vacate
from pedro_bench.grid.planning import SeedRun
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import record_at, status_of
from pedro_bench.runs.environment import now
from pedro_bench.runs.identity import begun
from pedro_bench.runs.processes import agreed
from pedro_bench.training.interruption import interruption
from pedro_bench.training.saved_folder import remove_results, steps_saved, working_folder

MOST_CRASHES = 2
"""A run in which so many workers died, and got no further in between, is recorded as failed."""


@dataclass(frozen=True)
class _HeldRun:
    run: SeedRun
    lease: Lease


class Claims(Iterator[SeedRun]):
    """Iterates over the runs that are this worker's; each is held until the next is asked for.

    Args:
        settings: The runs' configuration.
        due: The runs to do, of whichever worker.
        snapshot: The records when the command began: what ended since is not done again.
        command: Name of the command in leases.
        is_stopped: Whether no other run shall begin.

    Attributes:
        remaining: Those that are not done, but for the one at hand.
        current: Path of the record of the one at hand, in every process that shares it.
    """

    def __init__(
        self,
        settings: Settings,
        due: Sequence[SeedRun],
        snapshot: RecordSnapshot,
        command: str = "",
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.remaining = list(due)
        self.settings = settings
        folder = records.suite_folder(settings.results_dir, settings.suite)
        self.leases = Leases(folder, settings.lease_seconds, command=command)
        self.current: Path | None = None
        self._snapshot, self._is_stopped = snapshot, is_stopped
        self._held: _HeldRun | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the run that is held was taken away by another worker, and others may be taken."""
        is_lost = self._held is not None and self._held.lease.is_lost
        return is_lost and not is_one_of_several()

    @property
    def is_begun(self) -> bool:
        """Whether the run at hand was begun, by whichever worker, since the command was started."""
        return self.current is not None and self._snapshot.has_begun_since(self.current)

    def check(self) -> None:
        """Go on only with a run that is still this worker's: to be called before its files are written.

        Raises:
            Interrupted: If another worker has it, or this process was asked to leave.
        """
        if self._held is not None:
            self._held.lease.notice_loss()
        interruption.leave_if_asked()

    def __next__(self) -> SeedRun:
        """Give the run before back and take one that is free; those that others have still remain."""
        self.give_back()
        self.current = None
        taken = self._take_first_free() if is_main() else None
        own = None if taken is None else taken.seed
        seed, remaining = agreed((own, [run.seed for run in self.remaining]))
        run_of_seed = {run.seed: run for run in self.remaining}
        self.remaining = [run_of_seed[one] for one in remaining if one != seed]
        if seed is None:
            raise StopIteration
        self.current = run_of_seed[seed].record
        return run_of_seed[seed]

    def give_back(self) -> None:
        """Give back the run that is held, if any; one that was taken away is left to its holder."""
        if self._held is None:
            return
        run, lease = self._held.run, self._held.lease
        self._held = None
        is_done = False
        if not lease.is_lost:
            vacate(self.settings, run.record)
        try:
            status = status_of(run.record)
            is_done = status in (None, "finished")  # None: it never began
            if status != "running":
                lease.crashes = 0
        finally:
            lease.release(is_done=is_done)
        if lease.is_lost:
            interruption.forget()
            self.remaining.append(run)

    def wait(self) -> None:
        """Let other workers go on for a while."""
        time.sleep(seconds_between_looks(self.settings.lease_seconds))

    def _take_first_free(self) -> SeedRun | None:
        """Take the first run that is free and to be done, and hold it; return None if there is none now.

        Runs that have ended, in whichever worker, are remaining no more.
        """
        for run in list(self.remaining):
            if self._is_stopped():
                self.remaining.clear()
                return None
            is_held = not self._has_ended(run) and self._hold(run)
            if is_held:
                if self._make_ready(run):
                    return run
                self.give_back()
            elif not self._has_ended(run):
                continue  # another worker has it
            self.remaining.remove(run)
        return None

    def _has_ended(self, run: SeedRun) -> bool:
        return self._snapshot.has_ended_since(run.record)

    def _hold(self, run: SeedRun) -> bool:
        """Take a run's lease if it is free; return whether it was."""
        saved_steps = steps_saved(working_folder(self.settings, run.record))
        lease = self.leases.take(run.record.stem, _leave_the_run, saved_steps)
        if lease is not None:
            self._held = _HeldRun(run, lease)
        return lease is not None

    def _make_ready(self, run: SeedRun) -> bool:
        """Make a run ready that is held now; return whether it is to be trained.

        It is not if another worker ended it before it was held, or if too many workers died in it: then it is
        recorded as failed. A damaged record is moved out of the way.
        """
        if self._has_ended(run):
            return False
        if run.record.is_file() and status_of(run.record) is None:
            records.set_aside(run.record)
        if self._held is not None and self._held.lease.crashes >= MOST_CRASHES:
            self._record_crashes(run)
            return False
        return True

    def _record_crashes(self, run: SeedRun) -> None:
        """Record a run as failed that no worker has survived."""
        settings, moment = self.settings, now()
        known = record_at(run.record)
        if known is None or known.status != "running":
            known = begun(settings, run.seed, run.record, moment)
        error = (
            f"a run must leave its process alive, got {MOST_CRASHES} workers that died in this one, as "
            "where memory runs out: set workers=1 or a smaller trainer.micro_batch_size, and retry=true."
        )
        remove_results(working_folder(settings, run.record), run.record)
        failed = known.changed(
            status="failed", error=error, error_type=TrainingError.__name__, finished=moment
        )
        records.write(failed, settings.results_dir)


def _leave_the_run() -> None:
    """Let the training leave at its next step, and save nothing."""
    interruption.ask("another worker has taken the run over.", saves=False)
