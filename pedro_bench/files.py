"""Files written whole or not at all: beside their target, synced and renamed; no reader sees half of one."""

import contextlib
import glob
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pedro_bench.errors import RecordError

_BY, _PART = "--by--", ".part"
"""Of the name of a file that is being written: `.<name>--by--<machine>.<process>.part`."""


def write_text(path: Path, content: str) -> None:
    """Write a text file whole, in UTF-8; see `write_bytes`."""
    write_bytes(path, content.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole (see `write_whole`).

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    write_whole(path, lambda place: place.write_bytes(content))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file whole: beside its target, synced, then renamed.

    What killed processes of this machine left half-written in the folder is removed, when this process
    first writes there: to look each time would take ever longer in a folder of many records.

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    beside = path.with_name(f".{path.name}{_BY}{platform.node()}.{os.getpid()}{_PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path.parent.absolute(), os.getpid())
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise RecordError(
            f"file {path} must be writable, got {error.strerror or error}: free some space or "
            "choose another folder with results_dir=… or output_dir=…."
        ) from error


def settle(folder: Path) -> None:
    """Sync a folder, so that the names of files written there survive a power failure, where it can be."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@cache
def _tidy(folder: Path, _process: int) -> None:
    """Remove the half files of this machine's dead processes; once for each process."""
    if not Path("/proc/self").exists():  # it cannot be told who is dead
        return
    for left in folder.glob(f".*{_BY}{glob.escape(platform.node())}.*{_PART}"):
        process = left.name.removesuffix(_PART).rpartition(".")[2]
        if process.isdecimal() and not Path(f"/proc/{process}").exists():
            left.unlink(missing_ok=True)
