"""A snapshot of records, by which every worker of a command sees what was done since the command began.

A status alone does not say it: with `rerun=true` or `retry=true` a run may have been finished, or have
failed, before the command began and be due all the same. Once its record has changed, some worker has done
it, and no other worker of the command does it again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pedro_bench import files
from pedro_bench.errors import RecordError
from pedro_bench.records import status_of


@dataclass(frozen=True)
class RecordSnapshot:
    """What records were when a command began.

    Attributes:
        digests: Absolute path of a record -> SHA-256 of its file; those that were not there are absent. A new
            record of the same result has another, since it holds times.
    """

    digests: Mapping[str, str]

    @classmethod
    def of(cls, records: Iterable[Path]) -> "RecordSnapshot":
        """Return a snapshot of the records at some paths.

        Raises:
            RecordError: If one cannot be read.
        """
        found = ((_name_of(path), _digest_of(path)) for path in records)
        return cls({name: digest for name, digest in found if digest is not None})

    def has_changed(self, record: Path) -> bool:
        """Whether a record was written or removed since.

        Raises:
            RecordError: If it cannot be read.
        """
        return _digest_of(record) != self.digests.get(_name_of(record))

    def has_ended_since(self, record: Path) -> bool:
        """Whether a worker has finished a run since, or recorded it as failed.

        Raises:
            RecordError: If its record cannot be read.
        """
        return self.has_changed(record) and status_of(record) in ("finished", "failed")

    def has_begun_since(self, record: Path) -> bool:
        """Whether a worker has begun a run since and has not ended it.

        Raises:
            RecordError: If its record cannot be read.
        """
        return self.has_changed(record) and status_of(record) == "running"


def _name_of(record: Path) -> str:
    return str(record.absolute())


def _digest_of(record: Path) -> str | None:
    """Return the SHA-256 of a record's file in hex, None where there is no file, as of a packed record."""
    try:
        return hashlib.sha256(files.read_bytes(record)).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"record {record} must be readable, got {reason}.") from error
