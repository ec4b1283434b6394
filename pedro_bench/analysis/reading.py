"""Reading: records and their predictions, a hundred thousand in seconds.

The one module of `analysis` that knows how results lie on the disk. The checks of `records.RunRecord` hold
here too: what this reader refuses is read again by `records.read`, which says in one sentence what is
wrong. What many records share (the configuration of a key) is parsed once; histories are not parsed at all.

What `cli.instruct` measured on a finished run (`instruct/<suite>/<run's stem>--<key>.json`) is a run too, in
the row of its run, with its suite's name as the task. Evaluations with other settings (another judge, fewer
tasks) are other measurements: a cell that has both is refused. Those with the same settings, made by other
code or on another device, are the same measurement made again: the newest is shown.
"""

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import known_settings
from pedro_bench.analysis.run import Environment, Memory, Run, Timing
from pedro_bench.errors import DamagedPackError, RecordError, reason
from pedro_bench.records.schema import evaluation_of_schema_1

FOLDERS = frozenset({"predictions", "judgements"})
"""Folders next to a record that may hold one line for each of its test rows."""


class _Row(msgspec.Struct):
    index: int
    score: float | None = None


_DECODER = msgspec.json.Decoder(Run)
_ROWS = msgspec.json.Decoder(_Row)
_ANY = msgspec.json.Decoder(dict[str, Any])

_Shared = tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]
"""What the runs of one key share: configuration, known settings, the method's printed name, versions."""


def find(results_dir: str | Path, suites: Sequence[str] = ()) -> list[Path]:
    """Return the paths of the records of some suites (none given: of all), each once.

    Raises:
        RecordError: If a folder cannot be read, or has a name that no suite can have.
    """
    chosen: Sequence[str | None] = list(dict.fromkeys(suites)) or [None]
    found = [path for suite in chosen for path in records.find(results_dir, suite)]
    for folder, path in {path.parent: path for path in found}.items():
        if not records.is_name(folder.name):
            suite = records.read(path).suite
            raise RecordError(
                f"folder {folder} must have the name of its records' suite, {suite!r}, got "
                f"{folder.name!r}: rename it, or move it out of {folder.parent}."
            )
    return found


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read records, in the order given.

    Raises:
        RecordError: If one cannot be read or is damaged; the message names file and field.
    """
    shared: dict[str, _Shared] = {}
    return [_read(path, shared) for path in paths]


def _read(path: Path, shared: dict[str, _Shared]) -> Run:
    try:
        content = _content(path)
        run = _DECODER.decode(content)
        if run.schema != records.SCHEMA:
            run = _DECODER.decode(records.text_of(records.decode(content, path)))
        if not _is_sound(run, path):
            raise msgspec.ValidationError("a field has a value that the schema does not allow")
        group = f"{run.suite}/{path.name.rpartition('--seed')[0]}"
        if group not in shared:
            config = records.config_now(_ANY.decode(run.raw_config))
            label = (config.get("method") or {}).get("label") or run.method.replace("_", r"\_")
            versions = _ANY.decode(run.raw_versions or b"{}")
            shared[group] = config, known_settings(config), str(label), versions
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        suite = records.read(path).suite  # says what is wrong with the record itself
        folder = path.absolute().parent.name
        if suite != folder:
            raise RecordError(
                f"record {path} must lie in the folder of its suite, {suite!r}, got {folder!r}: move it "
                "back, or into that folder of another results_dir."
            ) from error
        raise RecordError(f"record {path} must hold the schema's types, got {error}.") from error
    run.config, run.known, run.label, run.versions = shared[group]
    run.path = str(path)
    run.raw_config = run.history = run.raw_versions = msgspec.Raw()  # they hold the text
    return run


def _is_sound(run: Run, path: Path) -> bool:
    """Whether what types cannot say holds too: known status and schema, the file's name, a score."""
    stem = f"{run.method}--{run.task}--{run.backbone}--{run.key}--seed{run.seed}"
    return (
        run.schema == records.SCHEMA
        and run.status in records.STATUSES
        and f"{stem}.json" == path.name
        and run.suite == (path.parent.name or path.absolute().parent.name)
        and records.is_name(run.data)
        and (run.status != "finished" or run.score is not None)
        and (run.status != "failed" or bool(run.error))
    )


def _content(path: Path) -> bytes:
    """Return a record's text, of a file the fast way."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open takes twice as long
            return file.read()
    except FileNotFoundError:
        return records.read_bytes(path)  # it may lie in its suite's pack


class _Of(msgspec.Struct, frozen=True):
    suite: str
    stem: str


class _Evaluation(msgspec.Struct, frozen=True):
    """The fields of `records.EvaluationRecord` that a table needs."""

    suite: str
    run: _Of
    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, float]
    files: dict[str, dict[str, str]]
    environment: Environment
    started: str
    shortened: int = 0
    parts: dict[str, dict[str, Any]] = {}


def read_evaluations(results_dir: str | Path, runs: Sequence[Run]) -> list[Run]:
    """Return the evaluations of some runs in order of their files, each as a run of its suite's task.

    Its run's configuration and seed are its own.

    Raises:
        RecordError: If a file is no evaluation, or belongs to no record of a suite that is there.
    """
    files = sorted((Path(results_dir) / "instruct").glob("*/*.json"))
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        return []
    by_place = {(run.suite, run.stem): run for run in runs}
    suites = {run.suite for run in runs}
    found = []
    for path in files:
        evaluation = _evaluation(path)
        run = by_place.get((evaluation.run.suite, evaluation.run.stem))
        if run is not None:
            found.append(_as_run(evaluation, run, path))
        elif evaluation.run.suite in suites:
            raise RecordError(
                f"evaluation {path} must belong to a record, got {evaluation.run.stem!r}, which suite "
                f"{evaluation.run.suite!r} does not have: move the evaluation away with its run."
            )
    return found


def _evaluation(path: Path) -> _Evaluation:
    try:
        content = msgspec.json.decode(path.read_bytes())
        if isinstance(content, dict) and content.get("schema") == 1:
            content = evaluation_of_schema_1(content)
        found = msgspec.convert(content, _Evaluation)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(
            f"evaluation {path} must be a readable evaluation, got {reason(error)}."
        ) from error
    if not found.metrics:
        raise RecordError(f"evaluation {path} must hold a metric, got none.")
    return found


def _as_run(found: _Evaluation, run: Run, path: Path) -> Run:
    settings = {"config": found.config, "data": found.data}
    place = found.environment
    states = {place.dirty, run.environment.dirty}
    dirty = True if True in states else None if None in states else False
    rows = records.Split(fingerprint=found.data.get("fingerprint"), shortened=found.shortened)
    return msgspec.structs.replace(
        run,
        path=str(path),
        task=found.suite,
        key=records.run_key({"run": run.key, **settings}),  # what seeds evaluated alike share
        status="finished",
        config={**run.config, "task": {"name": found.suite}, "data": settings},
        main_metric=next(iter(found.metrics)),
        metrics={"test": found.metrics},
        splits={**run.splits, "test": rows},
        predictions=found.files.get("judgements") or found.files.get("predictions"),
        timing=Timing(),
        memory=Memory(),
        energy=None,
        environment=msgspec.structs.replace(place, dirty=dirty),
        started=found.started,
        error=None,
        evaluates=run.stem,
        parts=found.parts,
    )


def history_of(run: Run) -> Sequence[Mapping[str, Any]]:
    """Return what a run's record holds of its training, one mapping for each evaluation of dev.

    What `cli.instruct` measured on a run holds nothing of its training.
    """
    return records.read(run.path).history if run.evaluates is None else []


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
        RecordError: If they were not recorded, are gone or damaged, or were changed.
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
    except DamagedPackError:
        return (
            f"in a damaged file, {records.PACKED_PREDICTIONS}, to be restored from version control"
        )
    except (OSError, RecordError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, FileNotFoundError):
            return "gone"
        return f"not readable ({getattr(cause, 'strerror', None) or error})"
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
