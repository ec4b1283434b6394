"""Planning: the runs of a configuration, which are finished, and which of them a command does; no torch.

A configuration has one run for each seed. Where a run's record lies follows from its key, so it is known
before the run is trained; what the record says of the run is its status. A run is due if the command would do
it: where its result is not there, or where the command was told to do such runs again. Who does it is decided
later, by leases (`claims`).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pedro_bench import records
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import status_of
from pedro_bench.runs.identity import run_key

MISSING = "missing"
"""Status in a plan of a run without a record, or with a damaged one."""


class SeedRun(NamedTuple):
    """The run of one seed.

    Attributes:
        seed: Its seed.
        record: Where its record lies, once it has one.
    """

    seed: int
    record: Path


class PlannedRun(NamedTuple):
    """The run of one seed, and what is known of it.

    Attributes:
        seed: Its seed.
        record: Where its record lies, once it has one.
        status: That of its record (`records.STATUSES`), or MISSING.
    """

    seed: int
    record: Path
    status: str


def plan(settings: Settings) -> list[PlannedRun]:
    """Return the run of every seed with its status.

    Raises:
        PedroBenchError: If data or backbone cannot be identified, or a record cannot be read or is
            of another schema.
    """
    return with_status(seed_runs(settings))


def seed_runs(settings: Settings) -> list[SeedRun]:
    """Return the run of every seed; no record is read.

    Raises:
        PedroBenchError: If data or backbone cannot be identified.
    """
    record_of_seed = partial(
        records.record_path,
        settings.results_dir,
        settings.suite,
        method=settings.method.name,
        task=settings.task.name,
        backbone=settings.backbone.name,
        key=run_key(settings),
    )
    return [SeedRun(seed, record_of_seed(seed=seed)) for seed in settings.seeds]


def with_status(runs: Sequence[SeedRun]) -> list[PlannedRun]:
    """Return runs with what their records say now.

    Raises:
        RecordError: If a record cannot be read or is of another schema.
    """
    return [PlannedRun(*run, status_of(run.record) or MISSING) for run in runs]


def due_runs(settings: Settings, planned: Sequence[PlannedRun]) -> list[SeedRun]:
    """Return those of the planned runs that a command with these settings would do.

    With `retry` those that failed, and those that a worker began and did not end: another command's, which
    is at work, is safe by its lease. With `rerun` all; else those without a finished record or predictions.
    """
    return [SeedRun(run.seed, run.record) for run in planned if _is_due(settings, run)]


def _is_due(settings: Settings, run: PlannedRun) -> bool:
    if settings.retry:
        return run.status in ("failed", "running")
    return settings.rerun or run.status != "finished" or not records.has_predictions(run.record)
