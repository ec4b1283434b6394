"""Files written whole or not at all: beside their target, synced and renamed; no reader sees half of one."""

import contextlib
import glob
import os
import platform
from collections.abc import Callable
from pathlib import Path

from pedro_bench.errors import RecordError


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

    What a killed process of this machine left half-written beside the target is removed.

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    begun = f".{path.name}.{platform.node()}."
    beside = path.with_name(f"{begun}{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(begun)}*.part"):
            if not _is_alive(left.name.removeprefix(begun).removesuffix(".part")):
                left.unlink(missing_ok=True)
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


def _is_alive(process: str) -> bool:
    """Whether a process of this machine runs; its number as text."""
    return process.isdecimal() and Path(f"/proc/{process}").exists()
