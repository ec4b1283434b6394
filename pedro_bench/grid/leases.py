"""Leases: workers that share a results folder divide its runs without locks and without clocks.

    <results_dir>/runs/<suite>/leases/<stem of the record>.<generation>

The file of the highest generation says who holds a run. Every change of hands is the exclusive creation
of the next generation, which one worker alone can win, whether it takes a free run, one of a worker that
died, or gives its own back; so nothing is deleted that another process may still rely on. A holder counts
up a number in its file; whoever waits watches that number with a clock of its own, and takes the run
once the number has stood still for the holder's lease. Clocks of two machines are never compared, so
they may be wrong or jump. On the holder's own machine its death is seen at once. `flock` is not used:
all that is asked of a shared file system is that two exclusive creations of one name cannot both
succeed, and that a file opened anew shows what was written.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pedro_bench.errors import RecordError
from pedro_bench.files import boot


@dataclass(frozen=True)
class Owner:
    """A process: its machine, number, birth (ticks since the machine's start), and a random word of its own.

    `boot` identifies this start of this machine, and this container on it.
    """

    host: str
    boot: str
    pid: int
    birth: str
    word: str

    @classmethod
    def here(cls) -> "Owner":
        """Return an owner that stands for this process."""
        return cls(
            socket.gethostname(), boot(), os.getpid(), _birth(os.getpid()), secrets.token_hex(8)
        )

    def is_dead(self) -> bool:
        """Whether it is known to be gone; of a process of another machine nothing is known."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), boot()):
            return False
        birth = _birth(self.pid)
        return birth != self.birth if birth else not _is_hidden(self.pid)


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc may not show, since it is another user's."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False  # one's own, so a zombie


def _birth(pid: int) -> str:
    """Return when a process of this machine was started, or nothing if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


FOLDER = "leases"
BEATS_PER_LEASE = 6
"""How often a holder counts up within a lease; so many beats must be missed before it counts as dead."""

_WIDTH = 12
_KEPT = ("seconds", "grid", "crashes", "steps")


@dataclass(frozen=True)
class _State:
    """What stands in the file of the highest generation; 0 where there is none."""

    generation: int
    owner: Owner | None = None
    seconds: float = 0.0
    beat: str = ""
    is_free: bool = True
    grid: str = ""
    crashes: int = 0
    steps: int = 0


class Lease:
    """A run held by this process; another thread shows that it lives.

    `on_loss` is called, from that thread or by `look`, if another worker has taken the run.

    Attributes:
        is_lost: Whether another worker has taken the run.
        crashes: How many workers of one grid died in this run since it last got further.
    """

    def __init__(self, path: Path, state: _State, on_loss: Callable[[], None] | None) -> None:
        self._path, self._state, self._on_loss = path, state, on_loss
        self._is_over = threading.Event()
        self.is_lost = False
        self.crashes = state.crashes
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)
        self._thread.start()

    def release(self, *, is_done: bool) -> None:
        """Give the run back; leave no trace if it `is_done`: its record is finished, or it has none."""
        self._is_over.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # a full disk: the lease lapses by itself
            self._end(is_done=is_done)

    def _end(self, *, is_done: bool) -> None:
        folder, stem, generation = self._path.parent, self._path.stem, self._state.generation
        if is_done:
            _remove(folder, stem, generation)
            with contextlib.suppress(OSError):  # others hold runs, or make the folder anew
                folder.rmdir()
            return
        free = replace(
            self._state, generation=generation + 1, owner=None, seconds=0.0, crashes=self.crashes
        )
        if not self.is_lost and _create(_file(folder, stem, free.generation), _content(free)):
            _remove(folder, stem, generation)

    def look(self) -> None:
        """Look now, and not only at the next beat, whether another worker has taken the run."""
        with contextlib.suppress(OSError):  # a file system that is away for a while
            if self._is_taken():
                self._lose()

    def _live(self) -> None:
        beat = 0
        while not self._is_over.wait(self._state.seconds / BEATS_PER_LEASE):
            beat += 1
            try:
                is_held = self._beat(beat)
            except OSError:  # a file system that is away for a while: tried again
                continue
            if not is_held:
                self._lose()
                return

    def _lose(self) -> None:
        self.is_lost = True
        if self._on_loss is not None:
            self._on_loss()

    def _is_taken(self) -> bool:
        return _newest(self._path.parent, self._path.stem) > self._state.generation

    def _beat(self, beat: int) -> bool:
        """Count up; return whether the run is still this process's."""
        if self._is_taken():
            return False
        try:
            with self._path.open("r+b") as file:
                file.write(f"{beat:0{_WIDTH}d}".encode())
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        return True


class Leases:
    """What a worker knows of the leases of one suite: which it may take, and which it watches.

    Its own leases lapse after `seconds` without a sign of life. `clock` never goes back; only differences
    count. Of the command `grid` alone deaths of workers are counted.
    """

    def __init__(
        self,
        suite_folder: Path,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        grid: str = "",
    ) -> None:
        self.folder = suite_folder / FOLDER
        self.seconds = seconds
        self.grid = grid
        self._clock = clock
        self._watched: dict[str, tuple[tuple[int, str], float]] = {}

    def take(
        self, stem: str, on_loss: Callable[[], None] | None = None, steps: int = 0
    ) -> Lease | None:
        """Take a run that is free or whose holder is dead; return None if another worker has it.

        `on_loss` is called from another thread if the run is taken away. `steps` are those saved: who got
        further has not crashed before.

        Raises:
            RecordError: If the folder cannot be written.
        """
        try:
            held = self._take(stem, steps)
        except OSError as error:
            raise RecordError(
                f"folder {self.folder} must be writable, got {error.strerror or error}: choose "
                "another folder with results_dir=…."
            ) from error
        if held is None:
            return None
        return Lease(_file(self.folder, stem, held.generation), held, on_loss)

    def _take(self, stem: str, steps: int) -> _State | None:
        """Create the next generation of a run that may be taken."""
        state = self._state(stem)
        if not (state.is_free or self._is_dead(stem, state)):
            return None
        died = not state.is_free and state.grid == self.grid != ""
        held = _State(
            state.generation + 1,
            Owner.here(),
            self.seconds,
            is_free=False,
            grid=self.grid,
            crashes=(state.crashes if steps <= state.steps else 0) + died,
            steps=steps,
        )
        path = _file(self.folder, stem, held.generation)
        if not _create(path, _content(held)) or _read(path).owner != held.owner:
            return None
        if _newest(self.folder, stem) > held.generation:
            return None  # a run given back just now, and taken by a third
        _remove(self.folder, stem, state.generation)
        self._watched.pop(stem, None)
        return held

    def free(self, stem: str, steps: int = 0) -> None:
        """Give back, in the place of a holder that is dead as far as this worker has watched, its run."""
        lease = None if self.holder(stem) is None else self.take(stem, steps=steps)
        if lease is not None:
            lease.release(is_done=False)

    def holder(self, stem: str) -> str | None:
        """Return who holds a run, as `host:pid`, or None where it is free."""
        state = self._state(stem)
        if state.is_free:
            return None
        return f"{state.owner.host}:{state.owner.pid}" if state.owner else "another worker"

    def is_held(self, stem: str) -> bool:
        """Whether somebody has a run who is alive, as far as this worker has watched."""
        state = self._state(stem)
        return not (state.is_free or self._is_dead(stem, state))

    def was_left(self, stem: str, now: float) -> bool:
        """Whether a holder has written no sign of life for its lease; `now` is of the file system's clock."""
        path = _file(self.folder, stem, _newest(self.folder, stem))
        return now - path.stat().st_mtime > (self._state(stem).seconds or self.seconds)

    def holders(self) -> set[str]:
        """Return all that hold runs now, as `host:pid`; who is known to be dead is left out.

        Raises:
            RecordError: As `stems`.
        """
        states = [_read(path) for path in self._found()]
        return {
            f"{state.owner.host}:{state.owner.pid}"
            for state in states
            if state.owner is not None and not state.owner.is_dead()
        }

    def stems(self) -> set[str]:
        """Return the runs that somebody holds, or whose holder left a trace.

        Raises:
            RecordError: If a file lies where the folder or one above it is to be.
        """
        return {path.stem for path in self._found()}

    def _found(self) -> list[Path]:
        try:
            return list(_files(self.folder))
        except NotADirectoryError as error:
            raise RecordError(
                f"{self.folder} must be a folder, got a file there or above it: move that file away, or "
                "choose another folder with results_dir=…."
            ) from error

    def _state(self, stem: str) -> _State:
        newest = _newest(self.folder, stem)
        return _read(_file(self.folder, stem, newest)) if newest else _State(0)

    def _is_dead(self, stem: str, state: _State) -> bool:
        """Whether a holder is gone, or has shown no sign of life for its lease while watched."""
        if state.owner is not None and state.owner.is_dead():
            return True
        now, sign = self._clock(), (state.generation, state.beat)
        seen, since = self._watched.setdefault(stem, (sign, now))
        if seen != sign:
            self._watched[stem] = (sign, now)
            return False
        return now - since >= (state.seconds or self.seconds)


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return
    yield from (folder / name for name in names if name.rpartition(".")[2].isdecimal())


def _file(folder: Path, stem: str, generation: int) -> Path:
    return folder / f"{stem}.{generation}"


def _newest(folder: Path, stem: str) -> int:
    """Return the highest generation of a run, or 0."""
    return max((int(p.suffix[1:]) for p in _files(folder) if p.stem == stem), default=0)


def _remove(folder: Path, stem: str, generation: int) -> None:
    """Remove all generations up to one; those are nobody's any more."""
    for path in _files(folder):
        if path.stem == stem and int(path.suffix[1:]) <= generation:
            path.unlink(missing_ok=True)


def _content(state: _State) -> bytes:
    """Return a lease's text: the beat, of a fixed width, and who holds the run."""
    owner = None if state.owner is None else vars(state.owner)
    body = {"owner": owner, **{name: getattr(state, name) for name in _KEPT}}
    return f"{0:0{_WIDTH}d}{json.dumps(body)}\n".encode()


def _create(path: Path, content: bytes) -> bool:
    """Create a file that must not exist yet; return whether this process did it."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    # An error here is that of a place where no folder can be made (/proc, an automounter's: ENOENT).
    with contextlib.suppress(FileExistsError):  # removed in between, as below
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileExistsError:
        return False
    except FileNotFoundError:  # the folder was removed in between by the last who held a run in it
        return False
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    except OSError:  # a full disk: nobody shall wait for this one
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> _State:
    """Read a lease; one that is half-written is held by somebody unknown."""
    generation = int(path.suffix[1:])
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):  # NFS has two words for it
            raise
        # Given up just now: who creates the next generation holds the run.
        return _State(generation)
    try:
        body = json.loads(text[_WIDTH:])
        owner = None if body["owner"] is None else Owner(**body["owner"])
        kept = {name: body[name] for name in _KEPT if name in body}
        return _State(generation, owner, beat=text[:_WIDTH], is_free=owner is None, **kept)
    except (ValueError, KeyError, TypeError):
        return _State(generation, beat=text[:_WIDTH], is_free=False)
