"""The composition root: built objects in, records out; it names no method, task or backbone.

    plan(settings)        which runs are finished; imports no torch
    run(settings)         trains, scores and records what is not
    load(record)          gives a finished run back to generate with
    serve({name: record}) many finished runs as tenants of one backbone

Everything heavy is imported when the first run that is due needs it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench import records
from pedro_bench.experiment.identity import run_key
from pedro_bench.protocols.settings import Settings

if TYPE_CHECKING:
    from pedro_bench.experiment.saved import SavedRun
    from pedro_bench.serving import AdapterBank

__all__ = ["load", "plan", "run", "serve"]

MISSING = "missing"
"""Status in a plan of a run without a record."""


def plan(settings: Settings) -> list[tuple[int, Path, str]]:
    """Return (seed, path of the record, status) for every seed; the status is a record's, or MISSING.

    Raises:
        PedroBenchError: If data or backbone cannot be identified, or a record cannot be read.
    """
    key = run_key(settings)
    planned = []
    for seed in settings.seeds:
        path = records.record_path(
            settings.results_dir,
            settings.suite,
            method=settings.method.name,
            task=settings.task.name,
            backbone=settings.backbone.name,
            key=key,
            seed=seed,
        )
        status = records.read(path).status if path.is_file() else MISSING
        planned.append((seed, path, status))
    return planned


def run(
    settings: Settings, *, on_record: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """Train, score and record every seed that has no finished record; return all records.

    What is wrong before the first training step (data, backbone, method) raises and leaves nothing
    behind; what goes wrong later becomes a `failed` record, and the next seed goes on.

    Args:
        settings: One configuration.
        on_record: Called with each record as soon as it is known.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    planned = plan(settings)
    due = [
        (seed, path)
        for seed, path, status in planned
        if settings.rerun or status != "finished" or not _has_predictions(path)
    ]
    made = {}
    if due:
        from pedro_bench.experiment.runner import run_seeds

        for record in run_seeds(settings, due):
            made[record["seed"]] = record
            if on_record is not None:
                on_record(record)
    found = []
    for seed, path, _ in planned:
        if seed not in made:
            made[seed] = records.read(path).as_dict()
            if on_record is not None:
                on_record(made[seed])
        found.append(made[seed])
    return found


def load(path: str | Path, *, device: str = "auto", decoding: str = "plain") -> "SavedRun":
    """Load a finished run: its backbone with the trained adapter.

    Args:
        path: A record's JSON file, or the run's folder under `output_dir`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
        BackboneError: If the backbone is no longer what the run was trained on.
    """
    from pedro_bench.experiment.saved import load_run

    return load_run(Path(path), device=device, decoding=decoding)


def serve(
    runs: Mapping[str, str | Path],
    *,
    device: str = "auto",
    store: str = "backbone",
    decoding: str = "plain",
) -> "AdapterBank":
    """Load finished runs of one method on one backbone as tenants of an adapter bank.

    Args:
        runs: Tenant's name -> a record's JSON file, or the run's folder under `output_dir`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: `backbone`: adapters lie on the backbone's device; `cpu`: in main memory.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).

    Raises:
        RecordError: If a run is not finished, or its adapter is gone or damaged.
        BackboneError: If the runs were not trained on one and the same backbone.
        InjectionError: If the method cannot serve many tenants; the message says why.
        ConfigError: If `runs` is empty, or the runs trained different methods.
    """
    from pedro_bench.experiment.tenants import open_bank

    paths = {tenant: Path(path) for tenant, path in runs.items()}
    return open_bank(paths, device=device, store=store, decoding=decoding)


def _has_predictions(path: Path) -> bool:
    """Whether the predictions that a finished record names are still there."""
    return records.predictions_path(path).is_file()
