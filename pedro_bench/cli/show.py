"""Show: records as a table for people, or as one JSON object."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench.analysis.statistics import medians
from pedro_bench.protocols.settings import Settings

Record = Mapping[str, Any]


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
    table.add_column("status")
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


def show_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Print the closing summary of a multirun: every job, and the reason of every failure."""
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
    console.print(f"{len(jobs)} jobs, {sum(job['status'] != 'finished' for job in jobs)} failed.")


def _test_metrics(records: Sequence[Record]) -> list[Mapping[str, float]]:
    return [one["metrics"]["test"] for one in records if one["status"] == "finished"]


def _status(record: Record) -> str:
    reason = record.get("error")
    return escape(f"{record['status']}: {reason}" if reason else str(record["status"]))
