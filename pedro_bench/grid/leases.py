"""Leases: workers that share a results folder divide its runs without locks and without clocks.

**What a lease is.** The right of one worker to train one run, written down in a small file next to the
records (`lease_files`). Its name ends in a generation; the file of the highest generation says which process
holds the run (`lease_holder`), or that it is free.

**Who writes it.** Every change of hands is the exclusive creation of the next generation: a worker takes a
free run or one of a worker that died, or gives its own back. Then it removes the older files, which nobody
relies on any more. While a worker holds a run (`held_lease`), a thread counts up the beat in its file several
times within the lease.

**When it expires.** On the holder's own machine its death is seen at once. Elsewhere whoever waits watches
the beat, with a monotonic clock of its own, and takes the run once the beat has stood still for the holder's
lease. Clocks of two machines are never compared, so they may be wrong or jump.

**When two workers race.** Both want to create the same next generation, and one of them alone can. A worker
that read a state, slept, and then created a generation that is not the highest any more holds nothing. A
holder that slept for longer than its lease finds a higher generation than its own, at its next beat or when
`notice_loss` is called, and leaves the run to the other worker.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.errors import RecordError
from pedro_bench.grid.held_lease import Lease
from pedro_bench.grid.lease_files import LeaseFileName, LeaseFiles, LeaseState, names_in
from pedro_bench.grid.lease_holder import Holder

LEASES_FOLDER = "leases"
"""The folder of a suite's leases, next to its records."""

LONGEST_PAUSE_SECONDS = 5.0
"""Longest time between two looks at a run that another worker has."""


def seconds_between_looks(lease_seconds: float) -> float:
    """Return how long to wait until it is looked again at runs that others hold."""
    return min(lease_seconds / 3, LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True)
class _Watch:
    """The last sign of life that was seen of a holder, and since when, by the watcher's own clock."""

    state: LeaseState
    since_seconds: float


class Leases:
    """What a worker knows of the leases of one suite: which it may take, and which it watches.

    Args:
        suite_folder: The folder of the suite's records.
        lease_seconds: After how long without a sign of life the leases lapse that are taken here.
        clock: Seconds of a clock that never goes back; only differences count.
        command: Name of the command, of which alone deaths of workers are counted; empty: none are.
        folder_setting: What chooses another folder, as messages say.
    """

    def __init__(
        self,
        suite_folder: Path,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        command: str = "",
        folder_setting: str = "results_dir",
    ) -> None:
        self.folder = suite_folder / LEASES_FOLDER
        self.lease_seconds = lease_seconds
        self.command = command
        self._clock = clock
        self._remedy = f"choose another folder with {folder_setting}=…."
        self._watches: dict[str, _Watch] = {}

    def take(
        self, stem: str, on_loss: Callable[[], None] | None = None, saved_steps: int = 0
    ) -> Lease | None:
        """Take a run that is free or whose holder is dead; return None if another worker has it.

        Args:
            stem: Name of the run's record without its ending.
            on_loss: Called from another thread if the run is taken away.
            saved_steps: Up to which step the run's checkpoints reach: who got further has not crashed before.

        Raises:
            RecordError: If the folder cannot be written.
        """
        with self._written():
            won = self._win_next_generation(stem, saved_steps)
        return None if won is None else Lease(self._files(stem), won, on_loss)

    def free_if_dead(self, stem: str, saved_steps: int = 0) -> None:
        """Give a run back in the place of its holder, if that is dead as far as this worker has watched.

        The death is counted for the holder's command, whichever command watches.

        Args:
            stem: Name of the run's record without its ending.
            saved_steps: As `take`.

        Raises:
            RecordError: If the folder cannot be written.
        """
        with self._written():
            files = self._files(stem)
            last = files.newest_state()
            if not (last.is_held and self._is_dead(stem, last)):
                return
            free = LeaseState(
                last.generation + 1,
                command=last.command,
                crashes=_crashes_of(last.command, last, saved_steps),
                saved_steps=saved_steps,
            )
            if files.create(free):
                files.remove_up_to(last.generation)

    def holder_name(self, stem: str) -> str | None:
        """Return who holds a run, as `host:pid`, or None where it is free; the holder may be dead."""
        state = self._files(stem).newest_state()
        if not state.is_held:
            return None
        return "another worker" if state.holder is None else state.holder.name

    def is_held(self, stem: str) -> bool:
        """Whether somebody has a run who is alive, as far as this worker has watched."""
        state = self._files(stem).newest_state()
        return state.is_held and not self._is_dead(stem, state)

    def has_lapsed_by_file_time(self, stem: str, now: float) -> bool:
        """Whether a holder has written no sign of life for its lease, for who cannot watch for so long.

        Args:
            stem: Name of the run's record without its ending.
            now: Seconds since the epoch by the file system's clock, which must have made the file's time too.

        Raises:
            OSError: If nobody has left a trace of holding the run.
        """
        files = self._files(stem)
        state = files.newest_state()
        age_seconds = now - files.path(state.generation).stat().st_mtime
        return age_seconds > (state.lease_seconds or self.lease_seconds)

    def living_holders(self) -> set[str]:
        """Return all that hold runs now, as `host:pid`; who is known to be dead is left out.

        Raises:
            RecordError: As `leased_stems`.
        """
        states = [self._files(name.stem).read(name.generation) for name in self._file_names()]
        holders = [state.holder for state in states if state.holder is not None]
        return {holder.name for holder in holders if not holder.is_dead()}

    def leased_stems(self) -> set[str]:
        """Return the runs that somebody holds, or whose holder left a trace.

        Raises:
            RecordError: If a file lies where the folder or one above it is to be.
        """
        return {name.stem for name in self._file_names()}

    def _file_names(self) -> list[LeaseFileName]:
        try:
            return list(names_in(self.folder))
        except NotADirectoryError as error:
            raise RecordError(
                f"{self.folder} must be a folder, got a file there or above it: move that file away, or "
                f"{self._remedy}"
            ) from error

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Say in one sentence that lease files cannot be written in a `with` block, if they cannot."""
        try:
            yield
        except OSError as error:
            raise RecordError(
                f"folder {self.folder} must be writable, got {error.strerror or error}: {self._remedy}"
            ) from error

    def _files(self, stem: str) -> LeaseFiles:
        return LeaseFiles(self.folder, stem)

    def _win_next_generation(self, stem: str, saved_steps: int) -> LeaseState | None:
        """Create the next generation of a run that may be taken; None where another worker has the run."""
        files = self._files(stem)
        last = files.newest_state()
        if last.is_held and not self._is_dead(stem, last):
            return None
        own = LeaseState(
            last.generation + 1,
            is_held=True,
            holder=Holder.this_process(),
            lease_seconds=self.lease_seconds,
            command=self.command,
            crashes=_crashes_of(self.command, last, saved_steps),
            saved_steps=saved_steps,
        )
        if not files.create(own) or files.read(own.generation).holder != own.holder:
            return None
        if files.newest_generation() > own.generation:
            return None  # a run given back just now, and taken by a third
        files.remove_up_to(last.generation)
        self._watches.pop(stem, None)
        return own

    def _is_dead(self, stem: str, state: LeaseState) -> bool:
        """Whether a holder is gone, or has shown no sign of life for its lease while watched."""
        if state.holder is not None and state.holder.is_dead():
            return True
        now_seconds = self._clock()
        watch = self._watches.get(stem)
        if watch is None or watch.state != state:
            self._watches[stem] = _Watch(state, now_seconds)
            return False
        return now_seconds - watch.since_seconds >= (state.lease_seconds or self.lease_seconds)


def _crashes_of(command: str, last: LeaseState, saved_steps: int) -> int:
    """Return how many of a command's workers died in a run since it last got further.

    Args:
        command: The command's name.
        last: The run's newest state. Who held the run then, and did not give it back, is dead.
        saved_steps: Up to which step the run's checkpoints reach now.
    """
    if not command or last.command != command:
        return 0
    before = last.crashes if saved_steps <= last.saved_steps else 0
    return before + last.is_held
