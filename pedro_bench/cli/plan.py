"""`python -m pedro_bench.cli.plan +experiment=table1`: what a grid holds and costs, and what is left.

It takes what `python -m pedro_bench -m` takes, and

    watch=10                        looks again every ten seconds until every run is finished or has
                                    failed; shows its workers and the time left with so many
    output=text|json

What is due is what the same command would do: with `rerun=true` every run, with `retry=true` those alone
that failed or were begun. Time and memory come from finished records on the same backbone (of this size and
type of numbers), kind of device and source of data, with the same settings of trainer (at any learning rate)
and evaluation: of the same method, with as many levels, and task where there are any, else of the same task,
else of the same backbone; where there are none from a model (`grid/costs.py`). With output=json each job says
which. Another method's seconds of training count for each batch that a step reads, two with two levels and
one more for the training after a search: how a record's were spent its phases say.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pedro_bench import checks, records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.recorded_settings import with_defaults_before
from pedro_bench.analysis.run import Run
from pedro_bench.cli.command import DONE, check_output, guarded, print_json, split_flags
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.hydra.sweep import Combination, afterwards, combinations_of
from pedro_bench.errors import ConfigError, RecordError
from pedro_bench.grid import plan as plan_of
from pedro_bench.grid.costs import Cost, batches_a_step, modelled_cost
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.planning import PlannedRun, due_runs
from pedro_bench.protocols.settings import NAMED, SHORTEST_LEASE, Settings
from pedro_bench.reporting.numbers import counted
from pedro_bench.runs.environment import kind_of_device

_CONFIGURED = ("method", "trainer", "evaluation", "backbone")

_ORIGIN = frozenset({"rates", "tried"})
"""Settings of the trainer that say how its rate was found; records from before them lack them."""
_RATE = _ORIGIN | {"lr"}
"""Settings of the trainer that change neither time nor memory of a run."""
_NUMBERS = ("dtype", "quantization")
"""Settings of a backbone in which its parameters take more or less memory and time."""


class Earlier:
    """Finished records under a results_dir, by what makes a run like another; those that are `unreadable`."""

    def __init__(self, results_dir: str) -> None:
        runs, self.unreadable = _readable(records.find(Path(results_dir)))
        self._spent: dict[tuple[Any, ...], list[_Spent]] = {}
        self._found: dict[tuple[Any, ...], tuple[float, int] | None] = {}
        self._done: dict[tuple[Any, ...], set[tuple[Any, Any]]] = {}
        self._sizes: dict[Any, int] = {}
        known: dict[int, tuple[Any, Any]] = {}
        for run in runs:
            train, test = run.timing.train_seconds or 0.0, run.timing.test_seconds or 0.0
            if run.status != "finished" or train + test <= 0:
                continue
            if id(run.config) not in known:  # runs of one key share it
                known[id(run.config)] = _worked(run.config), _configured(run.config)
            worked, configured = known[id(run.config)]
            names = (run.method, run.task, run.backbone, run.data)
            others, task = configured
            self._done.setdefault((run.suite, run.seed, names, others), set()).add(task)
            size = run.parameters.get("total")
            kind = (run.backbone, size, run.environment.device, run.data, worked)
            peak = run.memory.peak_bytes or 0
            alike = (*kind, run.task, run.method, _bilevel(run))
            self._spent.setdefault(alike, []).append(_Spent(train, test, peak))
            a_batch = _Spent(train / _batches_a_step(run), test, peak)
            for own in ((), (run.task,)):
                self._spent.setdefault((*kind, *own), []).append(a_batch)

    def num_moved(self, settings: Settings, planned: Sequence[PlannedRun]) -> int:
        """Return how many runs that are not finished are so under another key, with these settings.

        Those of the task may differ if its version was raised since.
        """
        names = tuple(getattr(settings, group).name for group in NAMED)
        others, task = _configured(settings.resolved_config)
        found = (
            self._done.get((settings.suite, run.seed, names, others), ())
            for run in planned
            if run.status != "finished"
        )
        return sum(any(one == task or one[0] < task[0] for one in tasks) for tasks in found)

    def cost(self, settings: Settings) -> Cost | None:
        """Return the median time and greatest memory of the runs most like this one, if any."""
        backbone, device = settings.backbone, kind_of_device(settings.device)
        if backbone not in self._sizes:
            self._sizes[backbone] = backbone.shape().num_parameters
        worked = _worked(settings.resolved_config)
        kind = (backbone.name, self._sizes[backbone], device, settings.data.name, worked)
        task, method = settings.task.name, settings.method
        batches = batches_a_step(method)
        levels = (
            ((task, method.name, method.bilevel), 1, "records of this method and task"),
            ((task,), batches, "records of this task"),
            ((), batches, "records of this backbone"),
        )
        for own, times, source in levels:
            spent = self._spent_by((*kind, *own), times)
            if spent is not None:
                return Cost(*spent, source)
        return None

    def _spent_by(self, group: tuple[Any, ...], times: int) -> tuple[float, int] | None:
        """Return median seconds, training so many times, and greatest memory of a group; looked for once."""
        found = (times, *group)
        if found not in self._found:
            spent = self._spent.get(group)
            self._found[found] = (
                (
                    median([times * one.training + one.scoring for one in spent]),
                    max(one.peak_bytes for one in spent),
                )
                if spent
                else None
            )
        return self._found[found]


class _Spent(NamedTuple):
    """Seconds of training and of scoring, and the highest memory, that a run took."""

    training: float
    scoring: float
    peak_bytes: int


def _bilevel(run: Run) -> str:
    return str((run.config.get("method") or {}).get("bilevel", "none"))


def _batches_a_step(run: Run) -> float:
    """Return how many batches a run read, in all phases, for each step of its last one."""
    steps = [phase.steps for phase in run.phases]
    levels = 1 if _bilevel(run) == "none" else 2
    if not steps or not steps[-1]:  # an older record does not say
        return levels
    return (levels * steps[0] + sum(steps[1:])) / steps[-1]


def _readable(paths: Sequence[Path]) -> tuple[list[Run], list[Path]]:
    """Return what can be read, and the paths of what cannot."""
    try:
        return read_runs(paths), []
    except RecordError:
        runs, unreadable = [], []
        for path in paths:
            try:
                runs += read_runs([path])
            except RecordError:
                unreadable.append(path)
        return runs, unreadable


def _worked(config: Mapping[str, Any]) -> Any:
    """Return the settings that say how much a run does, whatever its method and task."""
    backbone = config.get("backbone") or {}
    return (
        _group(config, "trainer", _RATE),
        _group(config, "evaluation", records.NOT_IN_KEY["evaluation"]),
        *(backbone.get(name) for name in _NUMBERS),
    )


def _configured(config: Mapping[str, Any]) -> tuple[Any, tuple[Any, Any]]:
    """Return the settings that runs under several keys share, and the task's version and settings."""
    task = (config.get("task") or {}).get("version", 0), _group(config, "task", _ORIGIN)
    return tuple(_group(config, group, _ORIGIN) for group in _CONFIGURED), task


def _group(config: Mapping[str, Any], name: str, left_out: frozenset[str]) -> Any:
    own = with_defaults_before(name, config.get(name)) or {}
    return _hashable({key: value for key, value in own.items() if key not in left_out})


def _hashable(value: Any) -> Any:
    """Return a JSON value in a form that is equal to another's where the values are."""
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return value


DEFAULTS = {"watch": 0}
"""The command's own keys."""

STATUSES = ("finished", "missing", "failed", "running")


def plan(arguments: Sequence[str]) -> int:
    """Print what a grid will run; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, or the experiment names what does not exist here.
    """
    given, overrides = split_extra(split_flags(arguments, ("-m", "--multirun")), DEFAULTS)
    combinations = combinations_of(overrides)
    output, pause = combinations[0].settings.output, given["watch"]
    check_output(output)
    checks.number("watch", pause, least=0)
    if pause and output == "json":
        raise ConfigError(f"watch must be 0 with output=json, got {pause}: it prints one object.")
    for combination in combinations:
        combination.settings.backbone.check_name()
    following = afterwards(overrides)
    found = look(combinations, following)
    if output == "json":
        print_json(found)
        return DONE
    console = Console()
    if not pause:
        console.print(_shown(found), soft_wrap=True)
        return DONE
    with Live(_shown(found), console=console, auto_refresh=False) as live:
        while found["finished"] + found["failed"] < found["runs"]:
            time.sleep(pause)
            found = look(combinations, following)
            live.update(_shown(found), refresh=True)
    return DONE


def look(combinations: Sequence[Combination], following: Sequence[str]) -> dict[str, Any]:
    """Return what the jobs of a grid hold and cost, from records and leases as they are now."""
    earlier = Earlier(combinations[0].settings.results_dir)
    planned = [plan_of(combination.settings) for combination in combinations]
    jobs = [_job(one, runs, earlier) for one, runs in zip(combinations, planned, strict=True)]
    due = [job for job in jobs if job["due"]]
    seconds = sum(job["seconds_per_run"] * job["due"] for job in due)
    workers = _workers({run.record.parent for runs in planned for run in runs})
    return {
        "runs": sum(job["runs"] for job in jobs),
        **{status: sum(job[status] for job in jobs) for status in STATUSES},
        "due": sum(job["due"] for job in due),
        "seconds": seconds,
        "workers": workers,
        "seconds_left": round(seconds / max(1, workers), 1),
        "peak_bytes": max((job["peak_bytes"] for job in due), default=0),
        "afterwards": list(following),
        "unreadable_records": [str(path) for path in earlier.unreadable],
        "jobs": jobs,
    }


def _workers(suites: set[Path]) -> int:
    """Return how many processes hold runs of these suites."""
    return len({one for suite in suites for one in Leases(suite, SHORTEST_LEASE).living_holders()})


def _job(combination: Combination, runs: Sequence[PlannedRun], earlier: Earlier) -> dict[str, Any]:
    statuses = [run.status for run in runs]
    cost = earlier.cost(combination.settings) or modelled_cost(combination.settings)
    return {
        "overrides": list(combination.overrides),
        "method": combination.settings.method.name,
        "task": combination.settings.task.name,
        "runs": len(runs),
        **{status: statuses.count(status) for status in STATUSES},
        "due": len(due_runs(combination.settings, runs)),
        "finished_under_other_keys": earlier.num_moved(combination.settings, runs),
        "seconds_per_run": round(cost.seconds, 1),
        "peak_bytes": round(cost.peak_bytes),
        "from": cost.source,
    }


def _shown(found: Mapping[str, Any]) -> Group:
    table = Table(title="plan", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("job", overflow="fold", min_width=24)
    for column in ("runs", *STATUSES, "time a run", "  GiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for job in found["jobs"]:
        numbers = [str(job[name]) for name in ("runs", *STATUSES)]
        cost = (_duration(job["seconds_per_run"]), f"{job['peak_bytes'] / 2**30:.1f}")
        table.add_row(escape(_name(job)), *numbers, *cost)
    counts = ", ".join(f"{found[status]} {status}" for status in STATUSES)
    sources = Counter(job["from"] for job in found["jobs"]).most_common()
    lines = [
        f"{counted(found['runs'], 'run')}: {counts}.",
        _due_line(found),
        f"Estimated from: {', '.join(f'{source} ({number})' for source, number in sources)}.",
        *(f"Afterwards: {line}" for line in found["afterwards"]),
    ]
    if moved := sum(job["finished_under_other_keys"] for job in found["jobs"]):
        lines.append(
            f"{moved} of them are finished under other keys, since a component's version, the "
            "data, the weights or the kind of device changed:"
        )
        lines.append("tables read these records; -m makes the runs anew.")
    if unreadable := found["unreadable_records"]:
        lines.append(
            f"warning: {len(unreadable)} of the records cannot be read and are left out here, such as "
            f"{unreadable[0]}: move or delete what another program left there."
        )
    if (left_alone := found["running"] - found["workers"]) > 0:
        least = "at least " if found["workers"] else ""
        lines.append(f"Interrupted: {least}{left_alone} of those running, which no worker holds.")
    if found["workers"]:
        left = _duration(found["seconds_left"])
        lines.append(
            f"Running now: {counted(found['workers'], 'worker')}; with so many about {left} are left."
        )
    return Group(table, *(Text(line) for line in lines))


def _due_line(found: Mapping[str, Any]) -> str:
    if not found["due"]:
        return "Due: none."
    took, most = _duration(found["seconds"]), found["peak_bytes"] / 2**30
    due = counted(found["due"], "run")
    return f"Due: {due}, one after another in about {took}, with up to {most:.1f} GiB."


def _name(job: Mapping[str, Any]) -> str:
    """Return a job's own values without the words that every line would repeat: `boolq lora r=4`."""
    own = job["overrides"] or (job["task"], job["method"])
    for word in ("task=", "method=", "method."):
        own = [one.removeprefix(word) for one in own]
    return " ".join(own)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            number = seconds / size
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(guarded(plan, sys.argv[1:], __doc__))
