"""Reading: records and their predictions, a hundred thousand in seconds.

The one module of `analysis` that knows how results lie on the disk. The fields are those of
`records.RunRecord`, whose checks hold here too: what this reader refuses is read again by `records.read`,
which says in one sentence what is wrong. What many records share (the configuration of a key) is parsed
once.
"""

import gc
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pedro_bench import records
from pedro_bench.analysis.settings import known_settings
from pedro_bench.errors import RecordError

FOLDERS = frozenset({"predictions", "judgements"})
"""Folders beside a record that may hold one line for each of its test rows."""

_DIGITS = re.compile(r"[0-9a-f]{16,}")


class Run(NamedTuple):
    """One record, or one evaluation of a run; its fields are the columns of `results`.

    Attributes:
        suite: Folder of the record; `method`, `task`, `backbone`, `data` and `seed` are its names.
        settings: Settings in which it differs from other runs of its method, such as `alpha=2, r=1`.
        status: `finished`, `failed` or `running`.
        main_metric: The metric that tables show.
        score: Its value on the test split, None where the run is not finished.
        scores: Metric -> value on the test split; in a DataFrame one column a metric.
        matrices: Entries that the papers count as parameters, None where the record has none.
        trainable: Everything the optimiser updates, likewise.
        train_seconds: Seconds of training; `test_seconds` those of scoring.
        train_tokens_per_second: Tokens trained on in a second.
        peak_bytes: Peak memory.
        adapter_bytes: Size of the saved adapter.
        device: `cpu` or `cuda`; `device_name` is what the device calls itself.
        key: The run's key.
        path: Where the record lies.
        commit: The commit that made it.
        dirty: Whether uncommitted code made it.
        started: When it began, ISO 8601.
        error: One sentence where it failed.
        shown: Whether tables show it: it finished and no newer run replaces it.
        row: Number of its settings among those of its method, the smallest first.
        label: The method's printed name, in LaTeX.
        config: The configuration.
        known: The settings that can move a number, null where the configuration says null.
        test_rows: Fingerprint of the test split's rows; `train_rows` that of the training split's.
        weights: Identity of the backbone's weights.
        shortened: Texts that did not fit, such as `12 of 800 test prompts`.
        predictions: The predictions' `path` and `sha256`.
        evaluates: Stem of the record that this evaluation is of, None for a run itself.
    """

    suite: str
    method: str
    settings: str
    task: str
    backbone: str
    data: str
    seed: int
    status: str
    main_metric: str
    score: float | None
    scores: Mapping[str, float]
    matrices: int | None
    trainable: int | None
    train_seconds: float | None
    test_seconds: float | None
    train_tokens_per_second: float | None
    peak_bytes: int | None
    adapter_bytes: int | None
    device: str | None
    device_name: str | None
    key: str
    path: str
    commit: str | None
    dirty: bool | None
    started: str
    error: str | None
    shown: bool
    row: int
    label: str
    config: Mapping[str, Any]
    known: Mapping[str, Any]
    test_rows: str | None
    train_rows: str | None
    weights: str | None
    shortened: Sequence[str]
    predictions: Mapping[str, str] | None
    evaluates: str | None

    @property
    def stem(self) -> str:
        """Name of the record's file without its ending."""
        return Path(self.path).stem


class _Environment(msgspec.Struct, frozen=True):
    device: str | None = None
    device_name: str | None = None
    commit: str | None = None
    dirty: bool | None = None


class _Split(msgspec.Struct, frozen=True):
    rows: int | None = None
    fingerprint: str | None = None
    shortened: int = 0
    lost_answers: int = 0
    cut_answers: int = 0


class _Memory(msgspec.Struct, frozen=True):
    peak_bytes: int | None = None
    adapter_bytes: int | None = None


class _Timing(msgspec.Struct, frozen=True):
    train_seconds: float | None = None
    test_seconds: float | None = None
    tokens_per_second: float | None = None


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
    timing: _Timing = _Timing()
    memory: _Memory = _Memory()
    environment: _Environment = _Environment()
    finished: str | None = None
    error: str | None = None
    versions: msgspec.Raw = msgspec.Raw()
    weights: str | None = None
    max_tokens: int | None = None
    phases: msgspec.Raw = msgspec.Raw()
    shares: int = 1


class _Row(msgspec.Struct):
    index: int
    score: float | None = None


_DECODER = msgspec.json.Decoder(Stored)
_ROWS = msgspec.json.Decoder(_Row)
_ANY = msgspec.json.Decoder(dict[str, Any])

_Config = tuple[dict[str, Any], dict[str, Any], str]
"""A configuration, its known settings, and the method's printed name."""


def find(results_dir: str | Path, suites: Sequence[str] = ()) -> list[Path]:
    """Return the paths of the records of some suites (none given: of all), each once."""
    chosen: Sequence[str | None] = list(dict.fromkeys(suites)) or [None]
    return [path for suite in chosen for path in records.find(results_dir, suite)]


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
            config = _ANY.decode(found.config)
            label = (config.get("method") or {}).get("label", found.method)
            configs[group] = config, known_settings(config), str(label)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        suite = records.read(path).suite  # says what is wrong with the record itself
        folder = path.absolute().parent.name
        if suite != folder:
            raise RecordError(
                f"record {path} must lie in the folder of its suite, {suite!r}, got {folder!r}: move it "
                "back, or into that folder of another results_dir."
            ) from error
        raise RecordError(f"record {path} must hold the schema's types, got {error}.") from error
    return _as_run(found, path, configs[group])


def _as_run(found: Stored, path: Path, shared: _Config) -> Run:
    scores = found.metrics.get("test", {})
    splits, place, spent = found.splits, found.environment, found.timing
    return Run(
        suite=found.suite,
        method=found.method,
        settings="",
        task=found.task,
        backbone=found.backbone,
        data=found.data,
        seed=found.seed,
        status=found.status,
        main_metric=found.main_metric,
        score=scores.get(found.main_metric),
        scores=scores,
        matrices=found.parameters.get("matrices"),
        trainable=found.parameters.get("trainable"),
        train_seconds=spent.train_seconds,
        test_seconds=spent.test_seconds,
        train_tokens_per_second=spent.tokens_per_second,
        peak_bytes=found.memory.peak_bytes,
        adapter_bytes=found.memory.adapter_bytes,
        device=place.device,
        device_name=place.device_name,
        key=found.key,
        path=str(path),
        commit=place.commit,
        dirty=place.dirty,
        started=found.started,
        error=found.error,
        shown=False,
        row=0,
        label=shared[2],
        config=shared[0],
        known=shared[1],
        test_rows=splits["test"].fingerprint if "test" in splits else None,
        train_rows=splits["train"].fingerprint if "train" in splits else None,
        weights=short_digits(found.weights),
        shortened=_shortened(splits),
        predictions=found.predictions,
        evaluates=None,
    )


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


def _content(path: Path) -> bytes:
    """Return a record's text, of a file the fast way."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return records.read_bytes(path)  # it may lie in its suite's pack


def short_digits(identity: str | None) -> str | None:
    """Return the identity of weights with long numbers by 8 digits."""
    return None if identity is None else _DIGITS.sub(lambda digits: digits[0][:8], identity)


def _shortened(splits: Mapping[str, _Split]) -> tuple[str, ...]:
    """Return what a record says of texts that did not fit: `12 of 800 test prompts, 4 lost their answer`."""
    found = []
    for name, split in splits.items():
        if split.shortened:
            lost = f", {split.lost_answers} lost their answer" if split.lost_answers else ""
            found.append(f"{split.shortened} of {split.rows} {name} prompts{lost}")
        if split.cut_answers:
            found.append(f"{split.cut_answers} of {split.rows} {name} answers")
    return tuple(found)


def history_of(run: Run) -> Sequence[Mapping[str, Any]]:
    """Return what a run's record holds of its training, one mapping for each evaluation.

    Raises:
        RecordError: If the record cannot be read any more.
    """
    return records.read(run.path).history


def example_scores(run: Run) -> list[float | None] | str:
    """Return the score of every test row in order of the rows, or why there are none."""
    content = _predicted(run)
    if isinstance(content, str):
        return content
    try:
        rows = _ROWS.decode_lines(content)
    except msgspec.MsgspecError:
        return "not JSON lines with index and score"
    return [row.score for row in sorted(rows, key=lambda row: row.index)]


def predicted_rows(run: Run) -> list[dict[str, Any]]:
    """Return a run's predictions, one mapping a test row, in order of the rows.

    Raises:
        RecordError: If they were not recorded, are gone or were changed.
    """
    content = _predicted(run) if run.predictions else "not recorded"
    if not isinstance(content, str):
        try:
            return sorted(_ANY.decode_lines(content), key=lambda row: int(row["index"]))
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            content = "not JSON lines with an index"
    raise RecordError(
        f"the predictions of {run.path} must be those that were recorded, got predictions that are "
        f"{content}."
    )


def _predicted(run: Run) -> bytes | str:
    """Return the content of a run's predictions, or what they are instead."""
    recorded = run.predictions or {}
    folder, _, name = recorded.get("path", "").partition("/")
    if folder not in FOLDERS or "/" in name or name == "..":
        return "not in the folder predictions"
    path = Path(run.path)
    try:
        is_own = folder == "predictions" and name == f"{path.stem}.jsonl"
        place = path.parent / folder / name
        content = records.read_predictions(path) if is_own else place.read_bytes()
    except (OSError, RecordError):
        return "gone"
    if hashlib.sha256(content).hexdigest() != recorded.get("sha256"):
        return "not those that were recorded"
    return content


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
