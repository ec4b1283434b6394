"""Stored: what reports need of a record, read fast; a hundred thousand take seconds.

The fields are those of `records.RunRecord`, whose checks hold here too: what this reader refuses is read
again by `records.read`, which says in one sentence what is wrong. What many records share (the
configuration of a key) is parsed once.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.reporting.settings import told_settings


@dataclass(frozen=True, slots=True)
class Run:
    """One record, less what no report shows.

    Attributes:
        path: Where the record lies; `records.read(run.path)` gives the whole of it.
        suite: Folder of the record; `method`, `task`, `backbone`, `data`, `key` and `seed` are its names.
        status: `finished`, `failed` or `running`.
        config: Configuration of the first record with this key.
        settings: What it tells of the settings that can move a number, null where it says null.
        main_metric: The metric that tables show.
        test_rows: Fingerprint of the test split's rows, or None.
        train_rows: The same of the training split.
        scores: Metric name -> value on the test split.
        matrices: Entries that the papers count, None where the record has none.
        trainable: Everything the optimiser updates, likewise.
        predictions: The predictions' `path` and `sha256`, or None.
        timing: Seconds and tokens per second.
        peak_bytes: Peak memory, or None.
        device: `cpu` or `cuda`, or None.
        device_name: What the device calls itself, or None.
        commit: The commit that made it, or None.
        dirty: Whether uncommitted code made it; None where that is not known.
        notes: What a reader should know of it, one sentence each.
        started: When it began, ISO 8601.
        error: One sentence where it failed.
        evaluated: Stem of the record that this evaluation is of, None for a run itself.
    """

    path: Path
    suite: str
    method: str
    task: str
    backbone: str
    data: str
    key: str
    seed: int
    status: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    main_metric: str
    test_rows: str | None
    train_rows: str | None
    scores: Mapping[str, float]
    matrices: int | None
    trainable: int | None
    predictions: Mapping[str, str] | None
    timing: Mapping[str, Any]
    peak_bytes: int | None
    device: str | None
    device_name: str | None
    commit: str | None
    dirty: bool | None
    notes: Sequence[str]
    started: str
    error: str | None
    evaluated: str | None = None
    weights: str | None = None

    @property
    def score(self) -> float:
        """The main metric on the test split; only a finished run has it."""
        return self.scores[self.main_metric]


class _Environment(msgspec.Struct, frozen=True):
    device: str | None = None
    device_name: str | None = None
    commit: str | None = None
    dirty: bool | None = None


class _Split(msgspec.Struct, frozen=True):
    fingerprint: str | None = None
    rows: int | None = None
    shortened: int = 0
    lost_answers: int = 0
    cut_answers: int = 0


class _Memory(msgspec.Struct, frozen=True):
    peak_bytes: int | None = None


class Stored(msgspec.Struct, forbid_unknown_fields=True):
    """A record as it lies on the disk; `Raw` parts are left unparsed."""

    key: str
    status: str
    method: str
    task: str
    backbone: str
    data: str
    suite: str
    seed: int
    config: msgspec.Raw
    main_metric: str
    started: str
    schema: int = records.SCHEMA
    parameters: dict[str, int] = {}
    splits: dict[str, _Split] = {}
    notes: list[str] = []
    history: msgspec.Raw = msgspec.Raw()
    best_step: int | None = None
    metrics: dict[str, dict[str, float]] = {}
    predictions: dict[str, str] | None = None
    timing: dict[str, Any] = {}
    memory: _Memory = _Memory()
    environment: _Environment = _Environment()
    finished: str | None = None
    error: str | None = None
    versions: msgspec.Raw = msgspec.Raw()
    weights: str | None = None
    max_tokens: int | None = None
    phases: msgspec.Raw = msgspec.Raw()
    shares: int = 1


def _shortened(found: Stored) -> list[str]:
    """Return what a record tells of texts that did not fit, in words."""
    told = []
    for name, split in found.splits.items():
        lost = f", and {split.lost_answers} lost their answer" if split.lost_answers else ""
        if split.shortened:
            told.append(f"{split.shortened} of {split.rows} {name} prompts were shortened{lost}.")
        if split.cut_answers:
            told.append(f"{split.cut_answers} of {split.rows} {name} answers were cut.")
    return told


_DECODER = msgspec.json.Decoder(Stored)

_Config = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A configuration, and what it tells of settings."""


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read records, in the order given.

    Raises:
        RecordError: If one cannot be read or is damaged; the message names file and field.
    """
    configs: dict[str, _Config] = {}
    return [_read(path, configs) for path in paths]


def _read(path: Path, configs: dict[str, _Config]) -> Run:
    try:
        content = _content(path)
        found = _DECODER.decode(content)
        if found.schema != records.SCHEMA:
            found = _DECODER.decode(records.text_of(records.decode(content, path)))
        if not _is_sound(found, path):
            raise msgspec.ValidationError("a field has a value that the schema does not allow")
        group = f"{found.suite}/{path.name.rpartition('--seed')[0]}"
        if group not in configs:
            decoded = msgspec.json.decode(found.config, type=dict[str, Any])
            configs[group] = decoded, told_settings(decoded)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        suite = records.read(path).suite  # says what is wrong with the record itself
        folder = path.absolute().parent.name
        if suite != folder:
            raise RecordError(
                f"record {path} must lie in the folder of its suite, {suite!r}, got {folder!r}: move it "
                "back, or into that folder of another results_dir."
            ) from error
        raise RecordError(f"record {path} must hold the schema's types, got {error}.") from error
    config, settings = configs[group]
    return Run(
        path=path,
        suite=found.suite,
        method=found.method,
        task=found.task,
        backbone=found.backbone,
        data=found.data,
        key=found.key,
        seed=found.seed,
        status=found.status,
        config=config,
        settings=settings,
        main_metric=found.main_metric,
        test_rows=found.splits["test"].fingerprint if "test" in found.splits else None,
        train_rows=found.splits["train"].fingerprint if "train" in found.splits else None,
        scores=found.metrics.get("test", {}),
        matrices=found.parameters.get("matrices"),
        trainable=found.parameters.get("trainable"),
        predictions=found.predictions,
        timing=found.timing,
        peak_bytes=found.memory.peak_bytes,
        device=found.environment.device,
        device_name=found.environment.device_name,
        commit=found.environment.commit,
        dirty=found.environment.dirty,
        notes=[*found.notes, *_shortened(found)],
        weights=found.weights,
        started=found.started,
        error=found.error,
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return records.read_bytes(path)


def _is_sound(found: Stored, path: Path) -> bool:
    """Whether what types cannot say holds too: known status and schema, the file's name, a score."""
    stem = f"{found.method}--{found.task}--{found.backbone}--{found.key}--seed{found.seed}"
    has_score = found.main_metric in found.metrics.get("test", {})
    return (
        found.schema == records.SCHEMA
        and found.status in records.STATUSES
        and f"{stem}.json" == path.name
        and found.suite == (path.parent.name or path.absolute().parent.name)
        and (found.status != "finished" or has_score)
        and (found.status != "failed" or bool(found.error))
    )


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector from searching ever more records, none of which is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
