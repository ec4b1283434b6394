"""Simulate a large grid without training: what its records, plans and leases cost, and how that grows.

    python scripts/simulate_grid.py --runs 1000 2000 4000 --workers 200 --latency 0.005

Records are written, listed and read, their grid is planned as by `cli.plan`, and the runs are leased by many
workers, all with the package's own code in a temporary folder. A job is one setting of a method with five
seeds. Times are those of the processor, so that other work on the machine does not count. Calls to the file
system are counted on the way; what they cost on a slow one is their number times its latency. Prints one
line of Markdown for each size.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.sweep import Combination
from pedro_bench.cli.plan import look
from pedro_bench.grid.held_lease import Lease
from pedro_bench.grid.leases import Leases
from pedro_bench.protocols.settings import Settings, describe
from pedro_bench.records import RunRecord
from pedro_bench.runs.identity import run_key

CALLS = ("open", "scandir", "stat", "replace", "unlink", "rmdir", "mkdir", "fsync")
HEAD = (
    "| runs | write (s) | list (s) | plan (s) | aggregate (s) | lease (s) | calls a run | "
    "on the slow system, a run (s) |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
)
COUNTED = ((io, "open"), *((os, name) for name in CALLS))


SEEDS = 5
BASE = "method=lora task=boolq backbone=micro data=micro trainer=micro device=cpu suite=simulated"


def jobs(runs: int, root: Path) -> list[Settings]:
    """Return the settings of a grid's jobs, each with another size of one method."""
    base = settings_of([*BASE.split(), f"results_dir={root}"])
    lora: Any = base.method
    made = []
    for first in range(0, runs, SEEDS):
        method = replace(lora, alpha=1.0 + first)
        config = {**base.resolved_config, "method": describe(method)}
        seeds = tuple(range(min(SEEDS, runs - first)))
        made.append(replace(base, method=method, seeds=seeds, resolved_config=config))
    return made


def records_of(settings: Settings) -> list[RunRecord]:
    """Return the records of a job's finished runs, of a usual size."""
    history = [{"step": step, "dev_loss": 1.0 / step, "epoch": 0.1} for step in range(1, 21)]
    key = run_key(settings)
    return [
        RunRecord(
            key=key,
            status="finished",
            method=settings.method.name,
            task=settings.task.name,
            backbone=settings.backbone.name,
            data=settings.data.name,
            suite=settings.suite,
            seed=seed,
            config=dict(settings.resolved_config),
            main_metric="accuracy",
            metrics={"test": {"accuracy": float(20 * seed)}},
            history=history,
            timing={"train_seconds": 20.0 + seed, "test_seconds": 5.0},
            environment={"device": "cpu"},
            started="2026-01-01T00:00:00+00:00",
            finished="2026-01-01T00:00:00+00:00",
        )
        for seed in settings.seeds
    ]


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor's seconds that an action took, and its result."""
    started = time.process_time()
    result = action()
    return time.process_time() - started, result


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the names of the calls that reach the file system."""
    calls: list[str] = []
    before = [(module, name, getattr(module, name)) for module, name in COUNTED]

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*arguments, **options)

        return call

    for module, name, function in before:
        setattr(module, name, counting(name, function))
    try:
        yield calls
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def lease_all(folder: Path, stems: list[str], workers: int) -> int:
    """Let workers take and finish all runs in turn, each holding one; return how often one was taken."""
    crew = [Leases(folder, 600) for _ in range(workers)]
    held: list[Lease | None] = [None] * workers
    left = iter(stems)
    taken = 0
    is_open = True
    while is_open or any(held):
        is_open = False
        for number, leases in enumerate(crew):
            lease = held[number]
            if lease is not None:
                lease.release(is_done=True)
                held[number] = None
            stem = next(left, None)
            if stem is not None:
                held[number] = leases.take(stem)
                taken += held[number] is not None
                is_open = True
    return taken


def simulate(runs: int, workers: int, latency: float) -> str:
    """Return one row of the table."""
    with tempfile.TemporaryDirectory() as place, counted() as calls:
        root = Path(place)
        grid = jobs(runs, root)
        made = [record for settings in grid for record in records_of(settings)]
        writing, paths = timed(lambda: [records.write(one, root) for one in made])
        listing, found = timed(lambda: records.find(root))
        combinations = [Combination((), settings) for settings in grid]
        planning, planned = timed(lambda: look(combinations, ()))
        aggregating, mean = timed(lambda: sum(run.score or 0.0 for run in read_runs(found)) / runs)
        stems = [path.stem for path in paths]
        leasing, taken = timed(lambda: lease_all(root / "suite", stems, workers))
        told = (len(found), planned["finished"], taken)
        each = len(calls) / runs
        if told != (runs, runs, runs) or not 0 <= mean <= 100:
            sys.exit(f"{runs} runs must be found, planned and taken once, got {told}.")
    return (
        f"| {runs} | {writing:.1f} | {listing:.2f} | {planning:.1f} | {aggregating:.1f} | "
        f"{leasing:.1f} | {each:.1f} | {each * latency:.2f} |"
    )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.005, help="seconds a call")
    options = parser.parse_args()
    print(HEAD)
    for runs in options.runs:
        print(simulate(runs, options.workers, options.latency), flush=True)


if __name__ == "__main__":
    main()
