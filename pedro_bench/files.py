"""Files written whole or not at all: beside their target, synced and renamed; no reader sees half of one."""

import contextlib
import errno
import glob
import hashlib
import os
import platform
import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeVar

from pedro_bench.errors import RecordError

_BY, _PART = "--by--", ".part"
"""Of the name of a file that is being written: `.<name>--by--<machine>.<process>.part`."""

STALE_RETRIES = 3
"""How often a file is opened again which another machine replaced at that moment (NFS: ESTALE)."""

_Result = TypeVar("_Result")


def boot() -> str:
    """Return what identifies this start of this machine, and this container, if it is known."""
    try:
        word = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{word} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def stamp(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last change in ns, which guard a cache of it.

    Raises:
        OSError: If there is no such file.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex; a file that did not change is read once per process.

    Raises:
        OSError: If it cannot be read.
    """
    return _sha256_of(path.resolve(), stamp(path))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, _stamp: tuple[int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bytes(path: Path) -> bytes:
    """Read a file that other machines may replace."""
    return _despite_replacement(path.read_bytes)


FOLDERS = "results_dir=… or output_dir=…"
"""What sets the folders of most files, in the remedy of an error."""


def write_text(path: Path, content: str, setting: str = FOLDERS) -> None:
    """Write a text file whole, in UTF-8; see `write_bytes`."""
    write_bytes(path, content.encode("utf-8"), setting)


def write_bytes(path: Path, content: bytes, setting: str = FOLDERS) -> None:
    """Write a file whole (see `write_whole`).

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    write_whole(path, lambda place: place.write_bytes(content), setting)


def write_whole(path: Path, write: Callable[[Path], object], setting: str = FOLDERS) -> None:
    """Let `write` make a file whole: beside its target, synced, then renamed.

    What killed processes of this machine left half-written in the folder, since it was started, is
    removed when this process first writes there: to look each time would take ever longer in a folder of
    many records.

    Args:
        path: The file.
        write: Writes it at the path it is given.
        setting: What sets the folder, for an error's remedy.

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    beside = path.with_name(f".{path.name}{_BY}{_machine()}.{os.getpid()}{_PART}")

    def written() -> None:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path.parent.absolute(), os.getpid())
        _despite_replacement(written)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise RecordError(
            f"file {path} must be writable, got {error.strerror or error}: free some space or "
            f"choose another folder with {setting}."
        ) from error


def settle(folder: Path) -> None:
    """Sync a folder, so that the names of files written there survive a power failure, where it can be."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _despite_replacement(action: Callable[[], _Result]) -> _Result:
    """Do something with a file, and again where NFS says that the file was replaced meanwhile."""
    for _ in range(STALE_RETRIES):
        try:
            return action()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            time.sleep(0.05)
    return action()


@cache
def _machine() -> str:
    """Return a word for this machine; a host's name alone may be that of several, or of containers."""
    return f"{platform.node()}-{hashlib.sha256(boot().encode()).hexdigest()[:8]}"


@cache
def _tidy(folder: Path, _process: int) -> None:
    """Remove the half files of this machine's dead processes; once for each process."""
    if not Path("/proc/self").exists():  # which processes are dead cannot be told
        return
    for left in folder.glob(f".*{_BY}{glob.escape(_machine())}.*{_PART}"):
        process = left.name.removesuffix(_PART).rpartition(".")[2]
        if process.isdecimal() and _is_gone(int(process)):
            # It may be another user's, in a folder that lets no other remove it.
            with contextlib.suppress(OSError):
                left.unlink()


def _is_gone(process: int) -> bool:
    """Whether no process has a number; /proc may not show those of other users."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
