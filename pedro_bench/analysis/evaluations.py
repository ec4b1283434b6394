"""Evaluations: what `cli.instruct` measured on finished runs, as columns next to the runs' own scores.

    <results_dir>/instruct/<suite>/<run's stem>--<key>.json

An evaluation is in the row of its run, under its suite's name as the task. Evaluations with other settings
(another judge, fewer tasks) are other measurements: a cell that has both is refused. Evaluations with the
same settings, made by other code or on another device, are the same measurement made again: the newest is
shown.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import records
from pedro_bench.analysis.reading import Environment, Memory, Run, Timing
from pedro_bench.errors import RecordError
from pedro_bench.records.older import evaluation_of_schema_1


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


def read_evaluations(results_dir: str | Path, runs: Sequence[Run]) -> list[Run]:
    """Return the evaluations of some runs, each as a run of the task that its suite is.

    Args:
        results_dir: Folder of `runs` and `instruct`.
        runs: Runs whose evaluations are wanted.

    Returns:
        The evaluations in order of their files; its run's configuration and seed are each one's own.

    Raises:
        RecordError: If a file is no evaluation, or belongs to no record of a suite that is there.
    """
    files = sorted((Path(results_dir) / "instruct").glob("*/*.json"))
    if not files:
        return []
    by_place = {(run.suite, run.stem): run for run in runs}
    suites = {run.suite for run in runs}
    found = []
    for path in files:
        evaluation = _read(path)
        run = by_place.get((evaluation.run.suite, evaluation.run.stem))
        if run is not None:
            found.append(_as_run(evaluation, run, path))
        elif evaluation.run.suite in suites:
            raise RecordError(
                f"evaluation {path} must belong to a record, got {evaluation.run.stem!r}, which suite "
                f"{evaluation.run.suite!r} does not have: move the evaluation away with its run."
            )
    return found


def _read(path: Path) -> _Evaluation:
    try:
        content = msgspec.json.decode(path.read_bytes())
        if isinstance(content, dict) and content.get("schema") == 1:
            content = evaluation_of_schema_1(content)
        found = msgspec.convert(content, _Evaluation)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(
            f"evaluation {path} must be a readable evaluation, got {error}."
        ) from error
    if not found.metrics:
        raise RecordError(f"evaluation {path} must hold a metric, got none.")
    return found


def _as_run(found: _Evaluation, run: Run, path: Path) -> Run:
    settings = {"config": found.config, "data": found.data}
    place = found.environment
    dirty = (
        None
        if place.dirty is None and run.environment.dirty is None
        else (bool(place.dirty or run.environment.dirty))
    )
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
        environment=msgspec.structs.replace(place, dirty=dirty),
        started=found.started,
        error=None,
        evaluates=run.stem,
    )
