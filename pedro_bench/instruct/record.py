"""The record of an evaluation: one JSON file tied to its run, written whole once it is finished.

    <results_dir>/instruct/<suite>/<run's stem>--<key>.json
    <results_dir>/instruct/<suite>/<kind>/<run's stem>--<key>.jsonl     answers, judgements, predictions

`key` is the hash of everything that can change the number, the run's own key and predictions included.
A finished key is not evaluated again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import files
from pedro_bench.errors import RecordError, near_match
from pedro_bench.records import EvaluationRecord
from pedro_bench.records.older import evaluation_of_schema_1
from pedro_bench.records.schema import SCHEMA


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
    content = json.dumps(record.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
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
    complete = all((path.parent / one["path"]).is_file() for one in record.files.values())
    return record if complete else None
