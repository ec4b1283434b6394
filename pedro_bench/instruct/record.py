"""The record of an evaluation, written whole once it is finished, and the journal that grows until then.

    <results_dir>/instruct/<suite>/<run's stem>--<key>.json
    <results_dir>/instruct/<suite>/<kind>/<run's stem>--<key>.jsonl     answers, judgements, predictions

`key` is the hash of everything that can change the number, the run's own key and predictions included.
A finished key is not evaluated again. A journal's line is written whole, flushed to the disk and only then
counted on; half a line that a kill left at the end is dropped. One process at a time may hold a journal.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import msgspec

from pedro_bench import files
from pedro_bench.errors import RecordError, TrainingError, near_match, reason
from pedro_bench.records import EvaluationRecord
from pedro_bench.records.schema import SCHEMA, evaluation_of_schema_1


def record_path(results_dir: str, suite: str, stem: str, key: str) -> Path:
    """Return where an evaluation's record lies, whether or not it exists."""
    return Path(results_dir) / "instruct" / suite / f"{stem}--{key}.json"


def file_path(record: Path, kind: str, key: str | None = None) -> Path:
    """Return where a file of the record lies; `key` takes the place of the record's own."""
    stem = record.stem if key is None else f"{record.stem.rpartition('--')[0]}--{key}"
    return record.parent / kind / f"{stem}.jsonl"


def write_rows(record: Path, path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write a file of JSON lines whole and return its entry in `files`."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    content = "".join(f"{line}\n" for line in lines)
    files.write_text(path, content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"path": path.relative_to(record.parent).as_posix(), "sha256": digest}


def write(record: EvaluationRecord, path: Path) -> None:
    """Write a record whole."""
    content = json.dumps(record.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    files.write_text(path, content + "\n")


def read_finished(path: Path) -> EvaluationRecord | None:
    """Read the record at a path; None where it or one of its files is absent.

    Raises:
        RecordError: If the file is not a record, or one of its files was changed.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"record {path} must be readable JSON, got {reason(error)}.") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in (1, SCHEMA):
        raise RecordError(
            f"record {path} must have schema {SCHEMA} or 1, got {schema!r}: give rerun=true to make it anew."
        )
    whole = evaluation_of_schema_1(content) if schema == 1 else content
    known = msgspec.structs.fields(EvaluationRecord)
    for name in {one.name for one in known} ^ set(whole):
        raise RecordError(
            f"record {path} must hold the schema's fields, got a difference in {name!r}."
            + near_match(name, [one.name for one in known])
        )
    try:
        record = msgspec.convert(whole, EvaluationRecord)
    except msgspec.ValidationError as error:
        raise RecordError(
            f"record {path} must hold the schema's types, got another: {error}."
        ) from error
    places = {path.parent / one["path"]: one["sha256"] for one in record.files.values()}
    if not all(place.is_file() for place in places):
        return None
    for place, digest in places.items():
        if files.sha256_of(place) != digest:
            raise RecordError(
                f"file {place} must be what the record {path.name} was made of, got another content "
                "(be it by another judge's rerun=true): restore it, or give rerun=true here too."
            )
    return record


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
            # Without a buffer: on a full disk its rest would be written again when the file is closed.
            self._file = path.open("ab+", buffering=0)
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
            end = self._file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                with suppress(OSError):  # another thread's line must not follow half of this one
                    self._file.truncate(end)
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
                if not isinstance(entry, dict):
                    raise ValueError("no object")
            except ValueError as error:
                raise RecordError(
                    f"{self.path}:{number} must be one JSON object, got {line[:60]!r} ({error}): "
                    "remove the file to start over."
                ) from None
            entries.append(entry)
        return entries
