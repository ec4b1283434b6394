"""Journal: JSON lines that grow while an evaluation runs, so that a killed one goes on where it stopped.

A line is written whole, flushed to the disk and only then counted on; half a line that a kill left at
the end is dropped. One process at a time may hold a journal.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO, Self

from pedro_bench.errors import RecordError, TrainingError


class Journal:
    """A journal opened for reading and appending; use it in a `with` block, which leaves no empty file.

    Args:
        path: Its file; made with its folder where absent.

    Attributes:
        path: As given.
        entries: What was in the journal and what was appended since, in order.

    Raises:
        RecordError: If another process holds it, its folder cannot be locked, or a line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab+")
        except OSError as error:
            raise RecordError(
                f"file {path} must be writable, got {error.strerror or error}: choose another folder "
                "with output_dir=…."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.entries = self._read()
        except BlockingIOError:
            self._file.close()
            raise RecordError(
                f"file {path} must be free, got one that another process holds: wait until that "
                "evaluation has ended."
            ) from None
        except OSError as error:
            self._file.close()
            raise RecordError(
                f"file {path} must be one that can be locked and read, got {error.strerror or error}: "
                "choose another folder with output_dir=…."
            ) from error
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line; safe to call from several threads.

        Raises:
            TrainingError: If the disk is full.
        """
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        with self._lock:
            try:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise TrainingError(
                    f"file {self.path} must be writable, got {error.strerror or error}: free some "
                    "space, then start the same command again."
                ) from error
            self.entries.append(dict(entry))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.entries:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self) -> list[dict[str, Any]]:
        """Read all whole lines and cut off what follows the last of them."""
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        entries = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise RecordError(
                    f"{self.path}:{number} must be one JSON object, got {line[:60]!r} ({error}): "
                    "give rerun=true to start over."
                ) from None
            entries.append(entry)
        return entries
