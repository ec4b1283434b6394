"""The files of leases: their names, their content, and what may be done with them.

    <results_dir>/runs/<suite>/leases/<stem of the record>.<generation>

    000000000004{"owner": {"host": …, "pid": …, …}, "seconds": 60.0, "grid": …, "crashes": 0, "steps": 0}

First comes the beat, a number of BEAT_DIGITS digits that the holder counts up in place; then JSON, which is
written once. `owner` is null in the file of a run that was given back. Workers of other versions of the
package may share a folder, so names and content stay as they are.

A file is created under a name that must not exist yet, and never replaced. All that is asked of a shared file
system is that two exclusive creations of one name cannot both succeed, and that a file opened anew shows what
was written. `flock` is not used.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pedro_bench.grid.lease_holder import Holder

BEAT_DIGITS = 12
"""Width of the number that a holder counts up, so that it can be written over in place."""


@dataclass(frozen=True)
class LeaseState:
    """What one file says of a run.

    Attributes:
        generation: The number in the file's name; 0 where there is no file.
        is_held: Whether a worker held the run when the file was written.
        holder: That worker; None of a free run, and where the file cannot be read.
        beat: The holder's number, as text.
        lease_seconds: For how long the number must stand still until the holder counts as dead; 0: not known.
        command: Name of the holder's command, empty for one that does not count deaths.
        crashes: How many workers of this command had died in the run before, without progress in between.
        saved_steps: Up to which step the run's checkpoints reached when the holder took it.
    """

    generation: int
    is_held: bool = False
    holder: Holder | None = None
    beat: str = ""
    lease_seconds: float = 0.0
    command: str = ""
    crashes: int = 0
    saved_steps: int = 0


class _Content(msgspec.Struct):
    """The JSON of a lease file, by the names on disk; older files lack the last three."""

    owner: Holder | None
    seconds: float = 0.0
    grid: str = ""
    crashes: int = 0
    steps: int = 0


_CONTENT = msgspec.json.Decoder(_Content)


@dataclass(frozen=True)
class LeaseFiles:
    """The files of one run's lease; that of the highest generation counts.

    Attributes:
        folder: The leases of the run's suite.
        stem: Name of the run's record without its ending.
    """

    folder: Path
    stem: str

    def path(self, generation: int) -> Path:
        """Return where the file of a generation lies."""
        return self.folder / f"{self.stem}.{generation}"

    def newest_generation(self) -> int:
        """Return the highest generation, or 0 where there is no file."""
        return max(self._generations(), default=0)

    def newest_state(self) -> LeaseState:
        """Return what the file of the highest generation says."""
        newest = self.newest_generation()
        return self.read(newest) if newest else LeaseState(0)

    def read(self, generation: int) -> LeaseState:
        """Return what a file says; one that is half-written or damaged is held by somebody unknown."""
        try:
            text = self.path(generation).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):  # NFS has two words for it
                raise
            # Given up just now: who creates the next generation holds the run.
            return LeaseState(generation)
        beat, body = text[:BEAT_DIGITS], text[BEAT_DIGITS:]
        try:
            content = _CONTENT.decode(body)
        except msgspec.MsgspecError:
            return LeaseState(generation, is_held=True, beat=beat)
        return LeaseState(
            generation,
            is_held=content.owner is not None,
            holder=content.owner,
            beat=beat,
            lease_seconds=content.seconds,
            command=content.grid,
            crashes=content.crashes,
            saved_steps=content.steps,
        )

    def create(self, state: LeaseState) -> bool:
        """Create the file of a state's generation, with a beat of 0; return whether this process did it.

        False: another process was quicker.

        Raises:
            OSError: If the file cannot be written; none is left then.
        """
        path = self.path(state.generation)
        # An error here is that of a place where no folder can be made (/proc, an automounter's: ENOENT).
        with contextlib.suppress(FileExistsError):  # removed in between, as below
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except (
            FileNotFoundError
        ):  # the folder was removed in between by the last who held a run in it
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_encoded(state))
                file.flush()
                os.fsync(descriptor)
        except OSError:  # a full disk: nobody shall wait for this one
            path.unlink(missing_ok=True)
            raise
        return True

    def write_beat(self, generation: int, beat: int) -> bool:
        """Write a holder's number into its file; return whether the file is still there.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            with self.path(generation).open("r+b") as file:
                file.write(_beat_text(beat))
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        return True

    def remove_up_to(self, generation: int) -> None:
        """Remove the files of a generation and of all before it; those are nobody's any more."""
        for other in self._generations():
            if other <= generation:
                self.path(other).unlink(missing_ok=True)

    def _generations(self) -> list[int]:
        return [one.generation for one in names_in(self.folder) if one.stem == self.stem]


@dataclass(frozen=True)
class LeaseFileName:
    """What a lease file's name says: stem of the run's record, and generation."""

    stem: str
    generation: int


def names_in(folder: Path) -> Iterator[LeaseFileName]:
    """Yield the names of all lease files in a folder, which need not exist.

    Raises:
        OSError: If it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return
    for name in names:
        stem, _, generation = name.rpartition(".")
        if stem and generation.isdecimal():
            yield LeaseFileName(stem, int(generation))


def _encoded(state: LeaseState) -> bytes:
    content = _Content(
        owner=state.holder,
        seconds=state.lease_seconds,
        grid=state.command,
        crashes=state.crashes,
        steps=state.saved_steps,
    )
    return _beat_text(0) + f"{json.dumps(msgspec.to_builtins(content))}\n".encode()


def _beat_text(beat: int) -> bytes:
    return f"{beat:0{BEAT_DIGITS}d}".encode()
