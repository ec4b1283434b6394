"""A run that this process holds: it shows that it lives, notices a takeover, and gives the run back.

A holder's thread counts up the beat in the lease's file. Before each beat it looks for a higher generation: a
process that slept for longer than its lease (a laptop shut, a machine out of memory) may have lost its run to
a worker that took it for dead. Then the thread ends, and whoever trains the run is asked to leave.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

from pedro_bench.grid.lease_files import LeaseFiles, LeaseState

BEATS_PER_LEASE = 6
"""How often a holder counts up within a lease; so many beats must be missed before it counts as dead."""


class Lease:
    """A run that this process holds; a thread shows that the process lives.

    `on_loss` is called, from that thread or by `notice_loss`, if another worker has taken the run.

    Attributes:
        is_lost: Whether another worker has taken the run.
        crashes: How many workers of one command died in this run since it last got further.
    """

    def __init__(
        self, files: LeaseFiles, state: LeaseState, on_loss: Callable[[], None] | None
    ) -> None:
        self._files, self._state, self._on_loss = files, state, on_loss
        self._is_over = threading.Event()
        self.is_lost = False
        self.crashes = state.crashes
        self._thread = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._thread.start()

    def release(self, *, is_done: bool) -> None:
        """Give the run back; leave no trace if it `is_done`: its record is finished, or it has none."""
        self._is_over.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # a full disk: the lease lapses by itself
            if is_done:
                self._remove_every_trace()
            else:
                self._leave_free()

    def notice_loss(self) -> None:
        """Look now, and not only at the next beat, whether another worker has taken the run."""
        with contextlib.suppress(OSError):  # a file system that is away for a while
            if self._is_taken():
                self._lose()

    def _remove_every_trace(self) -> None:
        self._files.remove_up_to(self._state.generation)
        with contextlib.suppress(OSError):  # others hold runs, or make the folder anew
            self._files.folder.rmdir()

    def _leave_free(self) -> None:
        """Say in the next generation that nobody holds the run; what is known of its crashes stays there."""
        own = self._state.generation
        free = replace(
            self._state,
            generation=own + 1,
            is_held=False,
            holder=None,
            lease_seconds=0.0,
            crashes=self.crashes,
        )
        if not self.is_lost and self._files.create(free):
            self._files.remove_up_to(own)

    def _keep_beating(self) -> None:
        beat = 0
        while not self._is_over.wait(self._state.lease_seconds / BEATS_PER_LEASE):
            beat += 1
            try:
                is_held = not self._is_taken() and self._files.write_beat(
                    self._state.generation, beat
                )
            except OSError:  # a file system that is away for a while: tried again
                continue
            if not is_held:
                self._lose()
                return

    def _is_taken(self) -> bool:
        return self._files.newest_generation() > self._state.generation

    def _lose(self) -> None:
        self.is_lost = True
        if self._on_loss is not None:
            self._on_loss()
