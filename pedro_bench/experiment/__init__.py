"""The composition root: built objects in, records out; it names no method, task or backbone.

    plan(settings)        which runs are finished; imports no torch
    run(settings)         trains, scores and records what is not
    load(record)          gives a finished run back to generate with
    serve({name: record}) many finished runs as tenants of one backbone

Everything heavy is imported when the first run that is due needs it.
"""

import logging
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench import checks, records
from pedro_bench.errors import ConfigError
from pedro_bench.experiment.identity import run_key
from pedro_bench.experiment.leftovers import clear_leftovers
from pedro_bench.experiment.peers import made_ready, reasons_told
from pedro_bench.experiment.sharing import (
    Claims,
    agreed_due,
    digests,
    record_at,
    refuse_splitting,
    status_of,
)
from pedro_bench.protocols.settings import Settings, check_device
from pedro_bench.ranks import is_main, meet
from pedro_bench.training.interruption import TakenOver
from pedro_bench.training.tracking import NoTracking

if TYPE_CHECKING:
    from pedro_bench.experiment.saved import SavedRun
    from pedro_bench.serving import AdapterBank

__all__ = ["Worked", "due_of", "load", "plan", "run", "serve", "work"]

_logger = logging.getLogger(__name__)

MISSING = "missing"
"""Status in a plan of a run without a record, or with a damaged one."""


def plan(settings: Settings) -> list[tuple[int, Path, str]]:
    """Return (seed, path of the record, status) for every seed; the status is a record's, or MISSING.

    Raises:
        PedroBenchError: If data or backbone cannot be identified, or a record cannot be read or is
            of another schema.
    """
    return _with_status(_places(settings))


def _places(settings: Settings) -> list[tuple[int, Path]]:
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


def _with_status(places: list[tuple[int, Path]]) -> list[tuple[int, Path, str]]:
    return [(seed, path, status_of(path) or MISSING) for seed, path in places]


@dataclass(frozen=True)
class Worked:
    """What a worker found or did.

    Attributes:
        records: The records that are there, in order of the seeds.
        left: Paths of the records of due runs that other workers have.
    """

    records: list[dict[str, Any]]
    left: tuple[Path, ...]


def run(
    settings: Settings, *, on_record: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """Train, score and record every seed that is due, and wait for those that other workers have.

    Returns:
        The records that are there, in order of the seeds.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    return work(settings, on_record=on_record).records


def work(
    settings: Settings,
    *,
    on_record: Callable[[dict[str, Any]], None] | None = None,
    waits: bool = True,
    seen: Mapping[str, str] | None = None,
) -> Worked:
    """Train, score and record every seed that is due and free.

    What is wrong before the first training step (data, backbone, method) raises and leaves nothing
    behind; what goes wrong later becomes a `failed` record, and the next seed goes on, or with
    `settings.fail_fast` none. A run that another worker has is left to it; if that worker dies, it is
    done here.

    Args:
        settings: One configuration.
        on_record: Called with each record as soon as it is known.
        waits: Whether to wait for runs that other workers have.
        seen: What `digests` said when the command began, so that a run which has come to its end since,
            by whichever worker, is not done again; left out, the command begins here.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    refuse_splitting()
    places = _places(settings)
    if seen is None:
        # Before their statuses: what changes later is seen.
        seen = digests(path for _, path in places)
    planned = _with_status(places)
    meet(settings.meeting_seconds)
    due = _agreed(settings, planned)
    if not is_main():
        settings = replace(settings, tracking=NoTracking())
    claims = Claims(settings, due, seen)
    made: dict[int, dict[str, Any]] = {}
    try:
        for record in _done(settings, claims, waits=waits):
            made[record["seed"]] = record
            if on_record is not None:
                on_record(record)
            if settings.fail_fast and record["status"] == "failed":
                claims.left.clear()
                break
    finally:
        claims.give_back()
    if is_main():
        clear_leftovers(settings, (path for _, path, status in planned if status == "finished"))
    for seed, path, _ in planned:
        known = None if seed in made else record_at(path)
        if known is not None:
            made[seed] = known.as_dict()
            if on_record is not None:
                on_record(made[seed])
    found = [made[seed] for seed in settings.seeds if seed in made]
    return Worked(found, tuple(path for _, path in claims.left))


def _agreed(settings: Settings, planned: list[tuple[int, Path, str]]) -> list[tuple[int, Path]]:
    """Return the runs to do, the same in all processes; require room for their sequences and a tracker."""
    due = agreed_due(due_of(settings, planned))
    if due:
        settings.check_room()
        settings.tracking.require_installed()
    return due


def due_of(settings: Settings, planned: list[tuple[int, Path, str]]) -> list[tuple[int, Path]]:
    """Return seed and path of the runs that a command would do, of those that were planned.

    Of a retry also those that a worker began and did not end: another's is safe by its lease.
    """
    if settings.retry:
        return [(seed, path) for seed, path, status in planned if status in ("failed", "running")]
    return [
        (seed, path)
        for seed, path, status in planned
        if settings.rerun or status != "finished" or not _has_predictions(path)
    ]


def _done(settings: Settings, claims: Claims, *, waits: bool) -> Iterator[dict[str, Any]]:
    """Yield the record of every run that this worker gets to do."""
    while True:
        try:
            first = next(claims, None)
            if first is not None:
                from pedro_bench.experiment.runner import run_seeds

                due = made_ready(settings, claims, chain([first], claims))
                with reasons_told(settings, claims):
                    yield from run_seeds(settings, due, claims.check)
        except TakenOver:
            if not claims.is_lost:
                raise
            _logger.warning("a run was taken over by another worker and is left to it.")
            continue
        if not (waits and claims.left):
            return
        claims.wait()


def load(
    path: str | Path,
    *,
    device: str = "auto",
    decoding: str = "plain",
    backbone: str | Path | None = None,
) -> "SavedRun":
    """Load a finished run: its backbone with the trained adapter.

    Args:
        path: A record's JSON file, or the run's folder under `output_dir`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).
        backbone: Folder in which the run's backbone lies now; None: where it lay. Its content must be
            what the run was trained on.

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
        BackboneError: If the backbone is not there, or not what the run was trained on.
    """
    from pedro_bench.experiment.saved import load_run

    check_device(device)
    return load_run(
        Path(checks.path("path", path)), device=device, decoding=decoding, backbone=backbone
    )


def serve(
    runs: Mapping[str, str | Path],
    *,
    device: str = "auto",
    store: str = "backbone",
    decoding: str = "plain",
    backbone: str | Path | None = None,
) -> "AdapterBank":
    """Load finished runs of one method on one backbone as tenants of an adapter bank.

    Args:
        runs: Tenant's name -> a record's JSON file, or the run's folder under `output_dir`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: `backbone`: adapters lie on the backbone's device; `cpu`: in main memory.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).
        backbone: Folder in which the runs' backbone lies now; None: where it lay. Its content must be
            what each run was trained on.

    Raises:
        RecordError: If a run is not finished, or its adapter is gone or damaged.
        BackboneError: If the runs were not trained on one and the same backbone.
        InjectionError: If the method cannot serve many tenants; the message says why.
        ConfigError: If `runs` is empty, or the runs trained different methods.
    """
    from pedro_bench.experiment.tenants import open_bank

    given: Any = runs
    if not isinstance(given, Mapping):
        raise ConfigError(
            "runs must name each tenant's run, as {'anna': 'results/runs/…/….json'}, got "
            f"{reprlib.repr(given)}."
        )
    check_device(device)
    for name in given:
        checks.text("a tenant in runs", name)
    paths = {name: Path(checks.path(f"runs[{name!r}]", path)) for name, path in given.items()}
    return open_bank(paths, device=device, store=store, decoding=decoding, backbone=backbone)


def _has_predictions(path: Path) -> bool:
    """Whether the predictions that a finished record names are still there."""
    return records.has_predictions(path)
