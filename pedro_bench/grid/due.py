"""Due: which runs of a configuration are finished, and which a command does; imports no torch."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from pedro_bench import files, records
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import status_of
from pedro_bench.runs.identity import run_key

MISSING = "missing"
"""Status in a plan of a run without a record, or with a damaged one."""


def plan(settings: Settings) -> list[tuple[int, Path, str]]:
    """Return (seed, path of the record, status) for every seed; the status is a record's, or MISSING.

    Raises:
        PedroBenchError: If data or backbone cannot be identified, or a record cannot be read or is
            of another schema.
    """
    return with_status(places(settings))


def places(settings: Settings) -> list[tuple[int, Path]]:
    """Return seed and path of the record for every seed."""
    place = partial(
        records.record_path,
        settings.results_dir,
        settings.suite,
        method=settings.method.name,
        task=settings.task.name,
        backbone=settings.backbone.name,
        key=run_key(settings),
    )
    return [(seed, place(seed=seed)) for seed in settings.seeds]


def with_status(found: list[tuple[int, Path]]) -> list[tuple[int, Path, str]]:
    """Return seeds and paths with the status of each."""
    return [(seed, path, status_of(path) or MISSING) for seed, path in found]


def due_of(settings: Settings, planned: list[tuple[int, Path, str]]) -> list[tuple[int, Path]]:
    """Return seed and path of the runs that a command would do, of those that were planned.

    Of a retry also those that a worker began and did not end: another's is safe by its lease.
    """
    if settings.retry:
        return [(seed, path) for seed, path, status in planned if status in ("failed", "running")]
    return [
        (seed, path)
        for seed, path, status in planned
        if settings.rerun or status != "finished" or not records.has_predictions(path)
    ]


def was_done(path: Path, seen: Mapping[str, str]) -> bool:
    """Whether a worker has ended a run since `digests` said what was seen."""
    if _digest(path) == seen.get(str(path.absolute()), ""):
        return False
    return status_of(path) in ("finished", "failed")


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return what tells whether records are changed later, by a new run of the same result too."""
    found = ((str(path.absolute()), _digest(path)) for path in paths)
    return {path: digest for path, digest in found if digest}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except FileNotFoundError:
        return ""
