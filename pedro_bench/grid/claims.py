"""Claims: the runs of one configuration that this worker gets, one after another.

A run is taken by a lease (`leases.py`). Whoever has taken one looks at its record again, since another
worker may have done it in between. With `accelerate launch` the main process takes, and tells the others.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pedro_bench import records
from pedro_bench.grid.due import was_done
from pedro_bench.grid.leases import Lease, Leases
from pedro_bench.protocols.settings import Settings
from pedro_bench.ranks import is_main, is_one_of_several
from pedro_bench.records import record_at, status_of
from pedro_bench.runs.identity import begun
from pedro_bench.runs.processes import agreed
from pedro_bench.training.interruption import interruption
from pedro_bench.training.working_folder import steps_saved, working_folder

LONGEST_PAUSE = 5.0
"""Seconds between two looks at a run that another worker has."""

MOST_CRASHES = 2
"""A run in which so many workers died, and got no further in between, is recorded as failed."""


class Claims(Iterator[tuple[int, Path]]):
    """Iterates over seed and record of the runs that are this worker's; each is held until the next.

    Args:
        settings: The configuration.
        due: Seed and path of the record, for each run to do.
        seen: What `digests` said when the command began.
        grid: Names the command that this worker is of, for its leases.
        is_stopped: Says whether no other run shall begin.

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
        self.leases = Leases(folder, settings.lease_seconds, grid=grid)
        self.current: Path | None = None
        self._seen, self._is_stopped = seen, is_stopped
        self._held: tuple[int, Path, Lease] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the run that is held was taken away by another worker, and others may be taken."""
        is_lost = self._held is not None and self._held[2].is_lost
        return is_lost and not is_one_of_several()

    def check(self) -> None:
        """Go on only with a run that is still this worker's: to be called before its files are written.

        Raises:
            Interrupted: If another worker has taken it, or this process was asked to leave.
        """
        if self._held is not None:
            self._held[2].look()
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
            try:
                status = status_of(path)
                is_done = status in (None, "finished")  # None: it never began
                lease.crashes *= status == "running"
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
        settings, now = self.settings, datetime.now(UTC).isoformat(timespec="seconds")
        known = record_at(path)
        if known is None or known.status != "running":
            known = begun(settings, seed, path, now)
        error = (
            f"a run must leave its process alive, got {MOST_CRASHES} workers that died in this one, as "
            "where memory runs out: set workers=1 or a smaller trainer.micro_batch_size, and retry=true."
        )
        failed = known.changed(status="failed", error=error, finished=now)
        records.write(failed, settings.results_dir)

    @staticmethod
    def _on_loss() -> None:
        interruption.ask("another worker has taken the run over.", saves=False)
