"""Where records lie, and how they are written whole and read back.

    <results_dir>/runs/<suite>/<method>--<task>--<backbone>--<key>--seed<k>.json
    <results_dir>/runs/<suite>/predictions/<same stem>.jsonl

A packed suite has `packed.parquet` and `packed_predictions.parquet` in their place (`packed`). The path of a
record stays its name: every function here takes it, whether the file is there or the record lies in a pack.
A file wins over what is packed under its name.
"""

import difflib
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import files
from pedro_bench.errors import DamagedRecordError, RecordError, near_match
from pedro_bench.records import packed
from pedro_bench.records.schema import (
    SCHEMA,
    RunRecord,
    check_name,
    config_now,
    run_of_schema_1,
    stem_of,
)

_DECODER = msgspec.json.Decoder(RunRecord)
_WHERE = "records are <results_dir>/runs/<suite>/<name>.json"
_KINDS = ("runs", "instruct")
"""Folders of a results_dir that hold suites: of runs, and of evaluations."""
_logger = logging.getLogger(__name__)


def run_key(parts: Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that stand for everything that can change a number.

    Args:
        parts: JSON types only; the order of keys does not matter.

    Raises:
        RecordError: If a value is not a JSON type or not a finite number.
    """
    try:
        canonical = json.dumps(
            parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise RecordError(f"the parts of a key must be finite JSON values, got {error}.") from error
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def suite_folder(results_dir: str | Path, suite: str) -> Path:
    """Return the folder that a suite's records lie in."""
    check_name("suite", suite)
    return Path(results_dir) / "runs" / suite


def results_folder(path: str | Path) -> Path | None:
    """Return the results_dir of a record or an evaluation, whether or not it exists.

    Args:
        path: `<results_dir>/runs/<suite>/<name>.json`, or the same with `instruct` in the place of `runs`;
            also one relative to a folder in between.

    Returns:
        The folder, relative where the path names it so; None for a path of another form.
    """
    for one in (Path(path), Path(os.path.abspath(path))):  # noqa: PTH100 - absolute() keeps `..`
        above = one.parents
        if one.suffix == ".json" and len(above) > 2 and above[1].name in _KINDS:
            return above[2]
    return None


def record_path(
    results_dir: str | Path,
    suite: str,
    *,
    method: str,
    task: str,
    backbone: str,
    key: str,
    seed: int,
) -> Path:
    """Return where a record lies, whether or not it exists.

    Raises:
        RecordError: If a name could leave the folder.
    """
    return suite_folder(results_dir, suite) / f"{stem_of(method, task, backbone, key, seed)}.json"


def predictions_path(record: Path) -> Path:
    """Return where the predictions of the record at `record` lie."""
    return record.parent / "predictions" / f"{record.stem}.jsonl"


def write(record: RunRecord, results_dir: str | Path) -> Path:
    """Write a record to its place and return the path.

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    path = suite_folder(results_dir, record.suite) / f"{record.stem}.json"
    files.write_text(path, text_of(record))
    return path


def text_of(record: RunRecord) -> str:
    """Return a record as the text of its file.

    Raises:
        RecordError: If a value is not a JSON type or not a finite number.
    """
    try:
        return json.dumps(record.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"record {record.stem} must hold finite JSON values, got {error}."
        ) from error


def exists(path: Path) -> bool:
    """Whether a record is there, as a file or in its suite's pack."""
    return path.is_file() or packed.holds(path)


def finished_run(path: str | Path) -> RunRecord:
    """Read the record of a finished run: a training, which leaves an adapter.

    Raises:
        RecordError: If there is no record, it is damaged or of a measurement of speed, or its run is not
            finished.
    """
    path = Path(path)
    rule = f"record {path} must be that of a finished run"
    if not exists(path):
        there = {one.name: one for one in _records_in(path.parent)}
        near = difflib.get_close_matches(path.name, there, n=1)
        hint = f". Did you mean {str(there[near[0]])!r}?" if near else f": {_WHERE}."
        raise RecordError(f"{rule}, got none there{hint}")
    record = read(path)
    if record.status != "finished":
        raise RecordError(f"{rule}, got status {record.status!r}: give its command again.")
    if record.is_measurement:
        raise RecordError(
            f"{rule}, got a measurement of speed, which leaves no adapter: name a record that "
            "`python -m pedro_bench` made."
        )
    return record


def has_predictions(path: Path) -> bool:
    """Whether the predictions of the record at `path` are there, as a file or in its suite's pack."""
    return predictions_path(path).is_file() or packed.holds_predictions(path)


def read_predictions(path: Path) -> bytes:
    """Return the predictions of the record at `path`: one JSON object a line.

    Raises:
        RecordError: If there are none.
    """
    place = predictions_path(path)
    if not place.is_file() and packed.holds_predictions(path):
        return packed.predictions(path)
    try:
        return files.read_bytes(place)
    except OSError as error:
        raise RecordError(f"{place} must be readable, got {error.strerror or error}.") from error


def read(path: str | Path) -> RunRecord:
    """Read and check a record.

    Raises:
        RecordError: If it cannot be read or is not a record; the message names file and field.
    """
    path = Path(path)
    return decode(read_bytes(path), path)


def status_of(path: Path) -> str | None:
    """Return the status of the record at a path; None where there is none, or a damaged one.

    Raises:
        RecordError: If it cannot be read.
    """
    record = record_at(path)
    return None if record is None else record.status


def record_at(path: Path) -> RunRecord | None:
    """Return the record at a path; None where there is none, or a damaged one.

    Raises:
        RecordError: If it cannot be read.
    """
    try:
        return read(path)
    except DamagedRecordError as error:
        _logger.warning("%s The run counts as missing.", error)
        return None
    except RecordError:
        if path.exists():
            raise
        return None


def read_bytes(path: Path) -> bytes:
    """Return a record's text, from its file or its suite's pack.

    Raises:
        RecordError: If there is neither.
    """
    if not path.is_file() and packed.holds(path):
        return packed.record(path)
    try:
        return files.read_bytes(path)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"record {path} must be readable, got {reason}.") from error


def decode(content: bytes, path: Path) -> RunRecord:
    """Return the record that a text is, older schemas and settings converted.

    Args:
        content: The file's bytes.
        path: Where it lies, for messages and for the name that it must have.

    Raises:
        RecordError: If it is of a newer schema.
        DamagedRecordError: If it is no record.
    """
    try:
        record = _DECODER.decode(content)
        if record.schema != SCHEMA:
            record = _converted(content, path)
    except (msgspec.MsgspecError, RecordError, UnicodeDecodeError):
        record = _converted(content, path)  # says in one sentence what is wrong
    if record.stem != path.stem:
        raise DamagedRecordError(f"record {path} must lie in a file named {record.stem}.json.")
    config = config_now(record.config)
    return record if config is record.config else record.changed(config=config)


def _converted(content: bytes, path: Path) -> RunRecord:
    """Return the record of an earlier schema; say what is wrong with one that is no record."""
    try:
        found = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise DamagedRecordError(
            f"record {path} must be JSON, got {error}: remove the file, and give the run's command again."
        ) from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise DamagedRecordError(f"record {path} must be a JSON object, got {kind}.")
    schema = found.get("schema", SCHEMA)
    if schema not in (1, SCHEMA):
        raise RecordError(f"record {path} must have schema {SCHEMA} or 1, got {schema!r}.")
    try:
        _check_names(path, found)
        whole = run_of_schema_1(found) if schema == 1 else found
        return msgspec.convert(whole, RunRecord)
    except (msgspec.ValidationError, TypeError, AttributeError) as error:
        raise DamagedRecordError(
            f"record {path} must hold the schema's types, got another: {error}."
        ) from error
    except RecordError as error:
        raise DamagedRecordError(f"{path}: {error}") from error


def _check_names(path: Path, found: Mapping[str, Any]) -> None:
    known = msgspec.structs.fields(RunRecord)
    names = [one.name for one in known]
    for name in found:
        if name not in names:
            raise RecordError(
                f"record {path} must hold the schema's fields only, got {name!r}."
                + near_match(name, names)
            )
    for one in known:
        if one.required and one.name not in found:
            raise RecordError(f"record {path} must have the field {one.name!r}, got none.")


def set_aside(path: Path) -> Path:
    """Rename a damaged record, so that its run can be done again and nothing is lost; return its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:  # another worker was quicker
        pass
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"record {path} must be writable, got {reason}.") from error
    return aside


def find(results_dir: str | Path, suite: str | None = None) -> list[Path]:
    """Return the paths of all records, of one suite or of all, in order of their names.

    Raises:
        RecordError: If a folder cannot be read, or a suite's pack.
    """
    root = Path(results_dir) / "runs"
    try:
        if suite is not None:
            return _records_in(suite_folder(results_dir, suite))
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        return [path for folder in folders for path in _records_in(folder)]
    except OSError as error:
        place, reason = error.filename or root, error.strerror or error
        raise RecordError(f"folder {place} must be readable, got {reason}.") from error


def unknown_suites(results_dir: str | Path, suites: Sequence[str]) -> str:
    """Return how a message about suites without records ends: near match and the suites that have some.

    Where none has, the folder above or below that holds records; empty where there is none such.

    Raises:
        RecordError: If a folder cannot be read.
    """
    known = {path.parent.name for path in find(results_dir)}
    if known:
        return f".{near_match(suites[0], known)}" if suites else ""
    other = folder_above(results_dir) or Path(results_dir) / "results"
    return f". Did you mean {str(other)!r}, which holds records?" if find(other) else ""


def folder_above(folder: str | Path) -> Path | None:
    """Return the results_dir that a folder is the `runs` of, or a suite in them; None if of none.

    Raises:
        RecordError: If a folder cannot be read.
    """
    if (Path(folder) / "runs").is_dir():
        return None
    place = Path(folder) if Path(folder).name else Path(folder).absolute()
    for runs in (place, place.parent):
        if runs.name == "runs" and find(runs.parent):
            return runs.parent
    return None


def _records_in(folder: Path) -> list[Path]:
    """Return the records of one folder by name; names alone are sorted, which is quick for many."""
    names = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    loose = {
        name
        for name in names
        if name.endswith(".json") and "--seed" in name and not name.startswith(".")
    }
    inside = {f"{stem}.json" for stem in packed.stems(folder)} if packed.RECORDS in names else set()
    return [folder / name for name in sorted(loose | inside)]
