"""Records: one run, one JSON file, written whole or not at all; the schema is defined here.

    <results_dir>/runs/<suite>/<method>--<task>--<backbone>--<key>--seed<k>.json
    <results_dir>/runs/<suite>/predictions/<same stem>.jsonl

`key` is the hash of everything that can change the number. A finished key is not run again;
tables read records and nothing else.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pedro_bench import checks, files
from pedro_bench.errors import DamagedRecordError, RecordError, near_match

SCHEMA = 1
"""Raised when a field changes its meaning; readers refuse what they do not know."""

STATUSES = ("finished", "failed", "running")

VOLATILE = ("timing", "memory", "environment", "started", "finished")
"""Fields that two runs of the same key may differ in; all others are equal bit for bit."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("key", "status", "method", "task", "backbone", "data", "suite"), (str,)),
    **dict.fromkeys(("main_metric", "started"), (str,)),
    **dict.fromkeys(("schema", "seed"), (int,)),
    **dict.fromkeys(("config", "parameters", "splits", "metrics"), (Mapping,)),
    **dict.fromkeys(("timing", "memory", "environment"), (Mapping,)),
    **dict.fromkeys(("history", "notes"), (list, tuple)),
    "best_step": (int, type(None)),
    "predictions": (Mapping, type(None)),
    "finished": (str, type(None)),
    "error": (str, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run: one configuration with one seed.

    Attributes:
        schema: Version of this schema.
        key: Twelve hexadecimal digits from `run_key`; the seed is not part of it.
        status: One of STATUSES; a failed record has its `error`.
        method: Name of the method; `task`, `backbone` and `data` likewise.
        suite: Folder the record lies in.
        seed: The run's seed, 0 or more.
        config: The resolved configuration, defaults included.
        main_metric: The metric that tables show, such as `accuracy`.
        parameters: `matrices`, `trainable` and `total` counts.
        splits: Split name -> `rows` and `fingerprint`.
        notes: Sentences a reader should know, such as how many examples were truncated.
        history: One mapping for each evaluation during training: `step`, `dev_loss` and so on.
        best_step: Optimiser step of the checkpoint that was scored.
        metrics: Split name -> metric name -> value.
        predictions: `path` relative to the record's folder, and the file's `sha256`.
        timing: Seconds and tokens per second.
        memory: Peak bytes.
        environment: Versions, device, threads, git commit and whether the tree was dirty.
        started: Time in ISO 8601 with its zone; `finished` likewise, None while running.
        error: One sentence of what went wrong, None otherwise.
    """

    schema: int = SCHEMA
    key: str
    status: str
    method: str
    task: str
    backbone: str
    data: str
    suite: str
    seed: int
    config: Mapping[str, Any]
    main_metric: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    best_step: int | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    predictions: Mapping[str, str] | None = None
    timing: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    started: str
    finished: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        _check("a record", {part.name: getattr(self, part.name) for part in _FIELDS})

    @property
    def stem(self) -> str:
        """File name without its ending; predictions and working files share it."""
        return _stem(self.method, self.task, self.backbone, self.key, self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types, in the schema's order."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


_FIELDS = fields(RunRecord)


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


def check_name(key: str, value: Any) -> None:
    """Require a name that is safe in a file name: it cannot leave its folder.

    Raises:
        RecordError: If `value` has other characters than letters, digits, `_`, `.` and `-`, or
            begins with a dot or a dash.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RecordError(
            f"{key} must be a name of letters, digits, '_', '.' and '-' that begins with a letter, "
            f"digit or '_', got {value!r}{checks.quoting(key, value)}."
        )


def suite_folder(results_dir: str | Path, suite: str) -> Path:
    """Return the folder that a suite's records lie in."""
    check_name("suite", suite)
    return Path(results_dir) / "runs" / suite


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
    return suite_folder(results_dir, suite) / f"{_stem(method, task, backbone, key, seed)}.json"


def predictions_path(record: Path) -> Path:
    """Return where the predictions of the record at `record` lie."""
    return record.parent / "predictions" / f"{record.stem}.jsonl"


def write(record: RunRecord, results_dir: str | Path) -> Path:
    """Write a record to its place and return the path.

    Raises:
        RecordError: If the folder cannot be written or the disk is full; no half file is left.
    """
    path = record_path(
        results_dir,
        record.suite,
        method=record.method,
        task=record.task,
        backbone=record.backbone,
        key=record.key,
        seed=record.seed,
    )
    try:
        content = json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"record {path} must hold finite JSON values, got {error}.") from error
    files.write_text(path, content + "\n")
    return path


def read(path: str | Path) -> RunRecord:
    """Read and check a record.

    Raises:
        RecordError: If it cannot be read or is not a record; the message names file and field.
    """
    path = Path(path)
    try:
        content = json.loads(files.read_bytes(path).decode("utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"record {path} must be readable, got {reason}.") from error
    except ValueError as error:
        raise DamagedRecordError(f"record {path} must be JSON, got {error}.") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise DamagedRecordError(f"record {path} must be a JSON object, got {kind}.")
    if content.get("schema", SCHEMA) != SCHEMA:
        raise RecordError(f"record {path} must have schema {SCHEMA}, got {content['schema']!r}.")
    try:
        _check(f"record {path}", content)
        record = RunRecord(**content)
    except RecordError as error:
        raise DamagedRecordError(str(error)) from error
    if record.stem != path.stem:
        raise DamagedRecordError(f"record {path} must lie in a file named {record.stem}.json.")
    return record


def set_aside(path: Path) -> Path:
    """Rename a damaged record, so that its run can be done again and nothing is thrown away.

    Returns:
        Where it lies now.

    Raises:
        RecordError: If the folder cannot be written.
    """
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
    """Return the paths of all records, of one suite or of all, in order of their names."""
    if suite is not None:
        return _records_in(suite_folder(results_dir, suite))
    root = Path(results_dir) / "runs"
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [path for folder in folders for path in _records_in(folder)]


def _records_in(folder: Path) -> list[Path]:
    """Return the records of one folder by name; names alone are sorted, which is quick for many."""
    names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
    return [
        folder / name
        for name in sorted(names)
        if name.endswith(".json") and "--seed" in name and not name.startswith(".")
    ]


def comparable(record: RunRecord) -> dict[str, Any]:
    """Return what two runs of the same key and seed must agree on, bit for bit."""
    return {name: value for name, value in record.as_dict().items() if name not in VOLATILE}


def _stem(method: str, task: str, backbone: str, key: str, seed: int) -> str:
    for name, value in (("method", method), ("task", task), ("backbone", backbone), ("key", key)):
        check_name(f"{name}.name" if name != "key" else name, value)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RecordError(f"seed must be a whole number of at least 0, got {seed!r}.")
    return f"{method}--{task}--{backbone}--{key}--seed{seed}"


def _check(place: str, content: Mapping[str, Any]) -> None:
    """Require every field, of the right type, and no other."""
    for name in content:
        if name not in _KINDS:
            known = near_match(name, _KINDS)
            raise RecordError(f"{place} must hold the schema's fields only, got {name!r}.{known}")
    if content.get("schema", SCHEMA) != SCHEMA:
        raise RecordError(f"{place} must have schema {SCHEMA}, got {content['schema']!r}.")
    for part in _FIELDS:
        optional = part.default is not MISSING or part.default_factory is not MISSING
        if part.name not in content and not optional:
            raise RecordError(f"{place} must have the field {part.name!r}, got none.")
        value = content.get(part.name)
        if part.name in content and (
            not isinstance(value, _KINDS[part.name]) or isinstance(value, bool)
        ):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[part.name])
            raise RecordError(
                f"{place} must have {kinds} in the field {part.name!r}, got {value!r}."
            )
    if content["status"] not in STATUSES:
        raise RecordError(
            f"{place} must have a known status, got {content['status']!r}."
            + near_match(content["status"], STATUSES)
        )
    check_name("suite", content["suite"])
    _stem(*(content[name] for name in ("method", "task", "backbone", "key", "seed")))
    if content["status"] == "failed" and not content.get("error"):
        raise RecordError(f"{place} must have a sentence in the field 'error', as it failed.")
    _check_scores(place, content)


def _check_scores(place: str, content: Mapping[str, Any]) -> None:
    """Require a mapping of scores for each split, with the main metric where the run is finished."""
    metrics = content.get("metrics", {})
    for split, scores in metrics.items():
        if not isinstance(scores, Mapping):
            raise RecordError(f"{place} must have a mapping in metrics.{split}, got {scores!r}.")
    main_metric = content["main_metric"]
    if content["status"] == "finished" and main_metric not in metrics.get("test", {}):
        raise RecordError(
            f"{place} must have its main metric {main_metric!r} in metrics.test, got none."
        )
