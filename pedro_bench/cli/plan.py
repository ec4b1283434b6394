"""`python -m pedro_bench.cli.plan +experiment=table1`: what a grid holds and costs, before it starts.

It takes what `python -m pedro_bench -m` takes. Time and memory come from finished records under the same
trainer settings, on the same backbone and kind of device (of the same method and task where there are
any, else of the same task, else of the same backbone), and where there are none from a model
(`experiment/costs.py`); each job says which.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench import records
from pedro_bench.cli.command import DONE, check_output, guarded, print_json, split_flags
from pedro_bench.cli.compose import Combination
from pedro_bench.cli.grids import afterwards, sweeps_of
from pedro_bench.experiment import plan as plan_of
from pedro_bench.experiment.costs import Cost, modelled_cost
from pedro_bench.experiment.identity import resolve_device
from pedro_bench.protocols.settings import Settings
from pedro_bench.reporting.statistics import median
from pedro_bench.reporting.stored import Run, read_runs

STATUSES = ("finished", "missing", "failed", "running")


def plan(arguments: Sequence[str]) -> int:
    """Print what a grid will run; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, or the experiment names what does not exist here.
    """
    overrides = split_flags(arguments, ("-m", "--multirun"))
    combinations = [one for sweep in sweeps_of(overrides) for one in sweep.combinations]
    settings = combinations[0].settings
    check_output(settings.output)
    earlier = _Earlier(settings.results_dir)
    jobs = [_job(combination, earlier) for combination in combinations]
    counts = {status: sum(job[status] for job in jobs) for status in STATUSES}
    due = [job for job in jobs if job["finished"] < job["runs"]]
    found = {
        "runs": sum(job["runs"] for job in jobs),
        **counts,
        "seconds": sum(job["seconds_per_run"] * (job["runs"] - job["finished"]) for job in due),
        "peak_bytes": max((job["peak_bytes"] for job in due), default=0),
        "afterwards": afterwards(overrides),
        "jobs": jobs,
    }
    if settings.output == "json":
        print_json(found)
    else:
        _show(found)
    return DONE


class _Earlier:
    """Finished records, to tell from what a run will take."""

    def __init__(self, results_dir: str) -> None:
        runs = read_runs(records.find(Path(results_dir)))
        self._runs = [run for run in runs if run.status == "finished" and _seconds(run) > 0]

    def cost(self, settings: Settings) -> Cost | None:
        """Return the median time and greatest memory of the runs most like this one, if any."""
        device = resolve_device(settings.device).partition(":")[0]
        like = [run for run in self._runs if _is_alike(run, settings, device)]
        same_task = [run for run in like if run.task == settings.task.name]
        same = [run for run in same_task if run.method == settings.method.name]
        levels = (
            (same, "records of this method and task"),
            (same_task, "records of this task"),
            (like, "records of this backbone"),
        )
        for runs, source in levels:
            if runs:
                peak = max(run.peak_bytes or 0 for run in runs)
                return Cost(median([_seconds(run) for run in runs]), peak, source)
        return None


def _is_alike(run: Run, settings: Settings, device: str) -> bool:
    return (
        run.backbone == settings.backbone.name
        and run.device == device
        and run.config.get("trainer") == settings.resolved_config["trainer"]
    )


def _seconds(run: Run) -> float:
    timing: Mapping[str, Any] = run.timing
    return float(timing.get("train_seconds") or 0) + float(timing.get("test_seconds") or 0)


def _job(combination: Combination, earlier: _Earlier) -> dict[str, Any]:
    planned = [status for _, _, status in plan_of(combination.settings)]
    cost = earlier.cost(combination.settings) or modelled_cost(combination.settings)
    return {
        "overrides": list(combination.overrides),
        "runs": len(planned),
        **{status: planned.count(status) for status in STATUSES},
        "seconds_per_run": round(cost.seconds, 1),
        "peak_bytes": round(cost.peak_bytes),
        "from": cost.source,
    }


def _show(found: Mapping[str, Any]) -> None:
    table = Table(title="plan", title_justify="left")
    table.add_column("job", overflow="fold")
    for column in ("runs", *STATUSES, "a run takes", "peak"):
        table.add_column(column, justify="right")
    table.add_column("from")
    for job in found["jobs"]:
        numbers = [str(job[name]) for name in ("runs", *STATUSES)]
        cost = (_duration(job["seconds_per_run"]), f"{job['peak_bytes'] / 2**30:.1f} GiB")
        table.add_row(escape(" ".join(job["overrides"])), *numbers, *cost, job["from"])
    console = Console()
    console.print(table)
    counts = ", ".join(f"{found[status]} {status}" for status in STATUSES)
    lines = [
        f"{found['runs']} runs: {counts}.",
        f"To do, one after another: about {_duration(found['seconds'])}, with up to "
        f"{found['peak_bytes'] / 2**30:.1f} GiB.",
        *(f"Afterwards: {line}" for line in found["afterwards"]),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(guarded(plan, sys.argv[1:]))
