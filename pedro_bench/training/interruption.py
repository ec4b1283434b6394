"""Interruption: Ctrl-C, SIGTERM and its like end a training at its next step, once its state is saved.

A second signal, or a step that lasts too long, ends it at once; the last checkpoint then stands. Nothing
here imports torch.
"""

import _thread
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 7
"""How long a step may go on after Ctrl-C or SIGTERM before it is given up."""

NOTICE_SECONDS = 90
"""The same after SIGUSR1 or SIGUSR2, which come well before an end: a step of a large model is long."""

REPEAT_SECONDS = 1
"""Signals that follow the first so soon are that one again: a terminal and a launcher both send one."""

ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What asks a process to end besides Ctrl-C; Slurm and submitit send the latter two before a time limit."""


def grace_after(number: int) -> int:
    """Return for how many seconds a step may go on after a signal."""
    return NOTICE_SECONDS if number in (signal.SIGUSR1, signal.SIGUSR2) else GRACE_SECONDS


@contextmanager
def taken_by(
    handler: Callable[[int, FrameType | None], None], *kinds: signal.Signals
) -> Iterator[None]:
    """Let a handler take signals for the time of a `with` block; only the main thread can, others go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield
    finally:
        for kind, own in before.items():
            signal.signal(kind, signal.SIG_DFL if own is None else own)


class Interrupted(KeyboardInterrupt):
    """A run was asked to leave; its text says by what, `exit_code` what the command shall end with."""

    def __init__(self, reason: str, exit_code: int = 130) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class TakenOver(Interrupted):
    """A run was asked to leave, since another worker has it; the process may go on with others."""


class Interruption:
    """Whether this process was asked to leave, and whether it may save before.

    A signal and a takeover may meet: then nothing is saved, and it is the signal that is answered.
    """

    def __init__(self) -> None:
        self._signal: Interrupted | None = None
        self._loss: TakenOver | None = None
        self._taken = 0.0
        self._is_free = False
        self._patience = threading.Timer(GRACE_SECONDS, _thread.interrupt_main)

    def ask(self, reason: str, *, saves: bool, exit_code: int = 130) -> None:
        """Ask the training to leave at its next step; may be called from another thread.

        Args:
            reason: One sentence.
            saves: Whether it shall save its state before; not if another worker has the run.
            exit_code: What the command shall end with.
        """
        if saves:
            self._signal = Interrupted(reason, exit_code)
        else:
            self._loss = TakenOver(reason, exit_code)

    @property
    def is_asked(self) -> bool:
        """Whether the training shall leave."""
        return self._signal is not None or self._loss is not None

    @property
    def saves(self) -> bool:
        """Whether the training shall save before it leaves."""
        return self._loss is None

    def forget(self) -> None:
        """Take back what was asked for: what it was meant for is over."""
        self._signal = self._loss = None

    def leave_if_asked(self) -> None:
        """Leave where nothing has to be saved before.

        Raises:
            Interrupted: If it was asked for.
        """
        if self.is_asked:
            self.leave()

    def leave(self) -> None:
        """Raise what was asked for, which is then answered.

        Raises:
            Interrupted: Always.
        """
        error = (
            self._signal
            or self._loss
            or Interrupted("another process of this run was interrupted.")
        )
        self.forget()
        raise error

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take signals as questions for the time of a `with` block, whose body asks `is_asked`.

        Raises:
            Interrupted: If the body came to its end without an answer.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with taken_by(self._take, signal.SIGINT, *ENDING):
            try:
                yield
            finally:
                self._patience.cancel()
        self.leave_if_asked()

    @contextmanager
    def answered_at_once(self, is_free: bool) -> Iterator[None]:
        """Let a signal end a `with` block whose body changes nothing, where `is_free`.

        Raises:
            Interrupted: If a signal came.
        """
        self._is_free = is_free
        try:
            yield
        finally:
            self._is_free = False

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            if time.monotonic() - self._taken < REPEAT_SECONDS:
                return
            self.leave()  # the second signal
        self._taken = time.monotonic()
        self.ask(f"{signal.Signals(number).name} came.", saves=True, exit_code=128 + number)
        if self._is_free and self.saves:
            self.leave()
        self._patience = threading.Timer(grace_after(number), _thread.interrupt_main)
        self._patience.daemon = True
        self._patience.start()


interruption = Interruption()
"""This process's own."""
