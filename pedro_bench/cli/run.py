"""One configuration or a grid: checked whole, worked on by workers, then summed up from records.

One worker works in this process, several in processes of their own or where a launcher puts them. What goes
wrong in one run stops no other, unless `fail_fast=true`. The summary does not depend on who did the runs:
the same command may be started on several machines that share the results folder.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench.cli.command import DONE, RUN_FAILED, check_folders, logs_to_stderr, print_json
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.launch import Launcher
from pedro_bench.cli.hydra.sweep import Combination, afterwards, combinations_of, refuse_grid
from pedro_bench.cli.options import conf_folders
from pedro_bench.distributed import is_main, is_one_of_several, launch
from pedro_bench.errors import ConfigError, sentence
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.workers import run_workers, work, work_on
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import status_of
from pedro_bench.reporting.numbers import counted

Record = Mapping[str, Any]


def medians(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return metric -> median over seeds, for the metrics that every seed has."""
    if not scores:
        return {}
    shared = [name for name in scores[0] if all(name in one for one in scores)]
    return {name: float(median([one[name] for one in scores])) for name in shared}


def runs_as_json(records: Sequence[Record]) -> dict[str, Any]:
    """Return `{"runs": [record…], "median": {metric: value}}` of one configuration."""
    return {"runs": list(records), "median": medians(_test_metrics(records))}


def show_runs(settings: Settings, records: Sequence[Record]) -> None:
    """Print a table of seeds and their median."""
    middle = medians(_test_metrics(records))
    place = f"backbone {settings.backbone.name}, data {settings.data.name}"
    title = f"{settings.method.name} on {settings.task.name} ({place})"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("seed", justify="right")
    for metric in middle:
        table.add_column(escape(metric), justify="right")
    table.add_column("best step", justify="right")
    table.add_column("status", overflow="fold")
    for record in records:
        scores = record.get("metrics", {}).get("test", {})
        shown = [f"{scores[metric]:.2f}" if metric in scores else "--" for metric in middle]
        step = record.get("best_step")
        table.add_row(
            str(record["seed"]), *shown, "--" if step is None else str(step), _status(record)
        )
    table.add_section()
    table.add_row("median", *(f"{value:.2f}" for value in middle.values()), "", "", style="bold")
    console = Console()
    console.print(table)
    console.print(f"records: {settings.results_dir}/runs/{settings.suite}", markup=False)


def show_jobs(jobs: Sequence[Mapping[str, Any]], following: Sequence[str] = ()) -> None:
    """Print the closing summary of a multirun: every job, the reason of every failure, what comes next.

    Args:
        jobs: As `worked_off` returns them.
        following: Commands that the experiment names to make its table from the runs.
    """
    table = Table(title="jobs", title_justify="left")
    for column in ("job", "seeds", "median", "status"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        scores = ", ".join(f"{name} {value:.2f}" for name, value in job["median"].items())
        table.add_row(
            escape(" ".join(job["overrides"])), str(len(job["runs"])), scores or "--", job["status"]
        )
    console = Console()
    console.print(table)
    failures = [(job, reason) for job in jobs for reason in job["errors"]]
    for job, reason in failures:
        line = f"failed: {' '.join(job['overrides'])}: {reason}"
        console.print(line, markup=False, soft_wrap=True)
    num_failed = sum(job["status"] != "finished" for job in jobs)
    console.print(f"{counted(len(jobs), 'job')}, {num_failed} failed.")
    for line in following:
        console.print(f"Afterwards: {line}", markup=False, soft_wrap=True)


def _test_metrics(records: Sequence[Record]) -> list[Mapping[str, float]]:
    return [one["metrics"]["test"] for one in records if one["status"] == "finished"]


def _status(record: Record) -> str:
    reason = record.get("error")
    return escape(f"{record['status']}: {reason}" if reason else str(record["status"]))


def run(arguments: Sequence[str]) -> int:
    """Check one configuration, run its seeds and show them; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, before anything heavy is imported or written, or the
            configuration cannot be run at all.
    """
    refuse_grid(arguments)
    settings = settings_of(arguments)
    check_folders(settings)
    launcher = Launcher(arguments)
    if is_one_of_several() and (settings.workers not in ("auto", 1) or launcher.is_chosen):
        raise ConfigError(
            f"workers must be 1 under accelerate launch, got {settings.workers}: leave workers and "
            "hydra/launcher out, or start the command without accelerate."
        )
    grid = Grid.planned([((), settings)])
    job = _done(grid, launcher)[0]
    if is_main():
        if settings.output == "json":
            print_json({name: job[name] for name in ("runs", "median")})
        else:
            show_runs(settings, job["runs"])
        for reason in job["errors"]:
            sys.stderr.write(f"failed: {reason}\n")
    return DONE if job["status"] == "finished" else RUN_FAILED


def multirun(arguments: Sequence[str]) -> int:
    """Check every combination, run them all, show the summary; return the exit code.

    Raises:
        PedroBenchError: If any combination is bad, before the first run starts, or if accelerate
            started other processes beside this one.
    """
    require_one_process(
        "a multirun", "start one accelerate launch for each configuration, without -m"
    )
    combinations = combinations_of(arguments)
    jobs = worked_off(combinations, arguments)
    failed = sum(one["status"] != "finished" for one in jobs)
    if combinations[0].settings.output == "json":
        print_json({"jobs": jobs, "finished": len(jobs) - failed, "failed": failed})
    else:
        show_jobs(jobs, afterwards(arguments))
    return RUN_FAILED if failed else DONE


def require_one_process(what: str, remedy: str) -> None:
    """Refuse a command of many configurations in processes that accelerate started.

    Raises:
        ConfigError: If accelerate started other processes beside this one.
    """
    if is_one_of_several():
        raise ConfigError(f"{what} must be one process, got WORLD_SIZE={launch().size}: {remedy}.")


def worked_off(
    combinations: Sequence[Combination], arguments: Sequence[str]
) -> list[dict[str, Any]]:
    """Have combinations run until nothing of them is due; return what became of each, in their order.

    Args:
        combinations: All of them are checked before the first run starts.
        arguments: Overrides as typed; those of a launcher count.

    Returns:
        For each: `overrides`, `status` (finished or failed), `errors`, `runs` (records) and `median`.

    Raises:
        PedroBenchError: If a folder cannot be written, or a launcher is not installed.
    """
    for one in combinations:
        check_folders(one.settings)
    launcher = Launcher(arguments)
    grid = Grid.planned([(one.overrides, one.settings) for one in combinations])
    return _done(grid, launcher, is_multirun=True)


def _done(grid: Grid, launcher: Launcher, *, is_multirun: bool = False) -> list[dict[str, Any]]:
    """Have a grid worked on until none of its runs is left; return what became of each configuration."""
    try:
        with logs_to_stderr():
            number = launcher.number_of_workers(grid)
            if launcher.is_chosen or number > 1:
                _share(grid, launcher, number)
                if launcher.is_chosen:
                    launcher.run(grid)
                else:
                    run_workers(grid, number)
                error = grid.error(0)
                if error is not None and not is_multirun:
                    raise error
            elif is_multirun:
                work(grid, waits=True)
            else:
                made: list[dict[str, Any]] = []
                work_on(grid, 0, on_record=made.append)
                if not is_main():  # the records may not be written yet
                    failed = any(record["status"] == "failed" for record in made)
                    return [{"status": "failed" if failed else "finished"}]
            grid.clear_stale_files()
        return [
            _outcome(grid, number)
            for number, one in enumerate(grid.configurations)
            if one.due or not (is_multirun and one.settings.retry)
        ]
    finally:
        if launcher.is_local and is_main():
            grid.remove()


def _share(grid: Grid, launcher: Launcher, number: int) -> None:
    grid.share(
        cwd=str(Path.cwd()),
        options=[str(folder) for folder in conf_folders()[1:]],
        pins_gpu=launcher.is_local and _takes_any_gpu(grid),
        shared_devices=launcher.shared_devices(number),
        is_progress_shown=not launcher.is_chosen and sys.stderr.isatty(),
        threads={key: own for key, own in os.environ.items() if key.endswith("_NUM_THREADS")},
    )


def _takes_any_gpu(grid: Grid) -> bool:
    """Whether runs are due on a GPU, and none of them on one that was named (`device=cuda:1`)."""
    due = [one for one in grid.configurations if one.due and one.kind == "cuda"]
    return bool(due) and all(":" not in one.settings.device for one in due)


def _outcome(grid: Grid, number: int) -> dict[str, Any]:
    """Return what became of one configuration, from its records and what the workers reported.

    Runs that were not due, such as missing ones of a retry, do not count against it.
    """
    runs, wanted = grid.records(number), [path for _, path in grid.configurations[number].due]
    errors = [f"seed {run['seed']}: {run['error']}" for run in runs if run["status"] == "failed"]
    error = grid.error(number)
    if error is not None:
        errors.append(sentence(error))
    missing = sum(status_of(path) != "finished" for path in wanted)
    if missing and not errors:
        reason = "not begun, since a run failed" if grid.is_stopped else "; ".join(grid.given_up)
        place = f" ({reason})" if reason else ""
        errors.append(f"{missing} of {counted(len(wanted), 'seed')} did not come to an end{place}")
    return {
        "overrides": list(grid.configurations[number].overrides),
        "status": "failed" if errors else "finished",
        "errors": errors,
        **runs_as_json(runs),
    }
