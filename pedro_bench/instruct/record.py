"""The record of an evaluation: one JSON file tied to its run, written whole once it is finished.

    <results_dir>/instruct/<suite>/<run's stem>--<key>.json
    <results_dir>/instruct/<suite>/<kind>/<run's stem>--<key>.jsonl     answers, judgements, predictions

`key` is the hash of everything that can change the number, the run's own key and predictions included.
A finished key is not evaluated again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.errors import RecordError, near_match

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One finished evaluation of one run.

    Attributes:
        schema: Version of this schema.
        key: Twelve hexadecimal digits.
        suite: `mmlu`, `bbh` or `mt_bench`.
        run: `suite`, `stem`, `method`, `task`, `backbone`, `key` and `seed` of the run.
        config: The evaluation's settings, defaults included.
        data: `fingerprint` of the rows and their number.
        metrics: Metric -> value over the whole suite.
        parts: Task or category -> its metrics and rows.
        files: Kind -> `path` relative to the record's folder, and `sha256`.
        notes: Sentences a reader should know.
        timing: Seconds.
        memory: Peak bytes.
        environment: Versions, device, git commit.
        started: Time in ISO 8601; `finished` likewise.
    """

    schema: int = SCHEMA
    key: str
    suite: str
    run: Mapping[str, Any]
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, float]
    parts: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Mapping[str, str]]
    notes: Sequence[str] = ()
    timing: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    started: str
    finished: str

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, in the schema's order."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def record_path(results_dir: str, suite: str, stem: str, key: str) -> Path:
    """Return where an evaluation's record lies, whether or not it exists."""
    return Path(results_dir) / "instruct" / suite / f"{stem}--{key}.json"


def file_path(record: Path, kind: str, key: str | None = None) -> Path:
    """Return where a file of the record lies; `key` takes the place of the record's own."""
    stem = record.stem if key is None else f"{record.stem.rpartition('--')[0]}--{key}"
    return record.parent / kind / f"{stem}.jsonl"


def write_rows(record: Path, path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write a file of JSON lines whole and return its entry in `files`.

    Raises:
        RecordError: If the folder cannot be written or the disk is full.
    """
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    content = "".join(f"{line}\n" for line in lines)
    files.write_text(path, content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"path": path.relative_to(record.parent).as_posix(), "sha256": digest}


def write(record: EvaluationRecord, path: Path) -> None:
    """Write a record whole.

    Raises:
        RecordError: If the folder cannot be written or the disk is full.
    """
    content = json.dumps(record.as_dict(), indent=1, ensure_ascii=False)
    files.write_text(path, content + "\n")


def read_finished(path: Path) -> EvaluationRecord | None:
    """Read the record at a path; None where it or one of its files is absent.

    Raises:
        RecordError: If the file is not a record.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"record {path} must be readable JSON, got {error}.") from error
    known = [part.name for part in fields(EvaluationRecord)]
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise RecordError(
            f"record {path} must have schema {SCHEMA}: give rerun=true to make it anew."
        )
    for name in set(content) ^ set(known):
        raise RecordError(
            f"record {path} must hold the schema's fields, got a difference in {name!r}."
            + near_match(name, known)
        )
    record = EvaluationRecord(**content)
    complete = all((path.parent / one["path"]).is_file() for one in record.files.values())
    return record if complete else None
