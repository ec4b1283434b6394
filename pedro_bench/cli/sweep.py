"""Multirun: every combination checked first, then run by Hydra's launcher, then summed up.

A job never raises: what went wrong is written beside the sweep's working files and told at the
end, so one failing job stops no other (with `fail_fast=true` it stops those that have not begun). The
summary is read from records, whichever launcher ran the jobs, and whichever worker did the runs: the
same command may be started on several machines that share the results folder.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pedro_bench import experiment, files
from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.command import (
    DONE,
    RUN_FAILED,
    logs_to_stderr,
    one_sentence,
    print_json,
)
from pedro_bench.cli.compose import GRID
from pedro_bench.cli.folders import check_folders
from pedro_bench.cli.grids import sweeps_of
from pedro_bench.cli.jobs import Combination, Sweep
from pedro_bench.cli.launching import check_launcher, launch, pin_gpu
from pedro_bench.cli.options import make_importable
from pedro_bench.cli.show import runs_as_json, show_jobs
from pedro_bench.errors import PedroBenchError
from pedro_bench.experiment.leases import Leases
from pedro_bench.experiment.sharing import LONGEST_PAUSE, record_at, status_of
from pedro_bench.protocols.settings import SHORTEST_LEASE

STOP = "stop"
"""Name of the file in a sweep's folder that says that a run failed and no other shall begin."""


@dataclass
class _Job:
    """A combination and what is known of it.

    Attributes:
        sweep: The sweep it is of, which chooses the launcher.
        combination: The combination.
        planned: Paths of its records.
        is_due: Whether it has anything to do.
        errors: What its processes left.
        left: Paths of the records of runs that other workers have.
    """

    sweep: Sweep
    combination: Combination
    planned: list[Path]
    is_due: bool
    errors: list[str]
    left: list[Path]


def multirun(arguments: Sequence[str]) -> int:
    """Check every combination, run them all, print the summary; return the exit code.

    Raises:
        PedroBenchError: If any combination is bad, before the first job starts.
    """
    sweeps = sweeps_of(arguments)
    for combination in (one for sweep in sweeps for one in sweep.combinations):
        check_folders(combination.settings)
    for sweep in sweeps:
        check_launcher(sweep)
    jobs = [_planned(sweep, one) for sweep in sweeps for one in sweep.combinations]
    settings = jobs[0].combination.settings
    if settings.retry:
        jobs = [one for one in jobs if one.is_due]
    folder = Path(settings.output_dir) / "multirun" / time.strftime("%Y%m%d-%H%M%S")
    folder = folder.with_name(f"{folder.name}-{os.getpid()}").absolute()
    with logs_to_stderr():
        _work_off(jobs, folder)
    _tidy(jobs)
    outcomes = [_outcome(one) for one in jobs]
    failed = sum(one["status"] != "finished" for one in outcomes)
    if settings.output == "json":
        print_json({"jobs": outcomes, "finished": len(outcomes) - failed, "failed": failed})
    else:
        show_jobs(outcomes)
    return RUN_FAILED if failed else DONE


def job(config: DictConfig) -> None:
    """Run one combination where the launcher put it; leave in a file what went wrong or is left."""
    hydra_config = HydraConfig.get()
    for place in hydra_config.searchpath:  # a launcher's own process does not know of it yet
        make_importable(Path(str(place).removeprefix("file://")))
    os.chdir(hydra_config.runtime.cwd)  # Ray's workers begin elsewhere
    folder = Path(hydra_config.sweep.dir)
    stop = folder.parent / STOP
    errors: list[str] = []
    left: list[str] = []
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        settings = settings_from({key: value for key, value in plain.items() if key != GRID})
        if settings.fail_fast and stop.exists():
            errors.append(f"not begun, since {stop.read_text(encoding='utf-8')} failed")
        else:
            if "Joblib" in hydra_config.launcher._target_:
                pin_gpu(folder)
            worked = experiment.work(settings, waits=False)
            left = [str(path.absolute()) for path in worked.left]
            if any(record["status"] == "failed" for record in worked.records):
                stop.write_text(f"job {hydra_config.job.num}", encoding="utf-8")
    except PedroBenchError as error:
        errors.append(one_sentence(error))
    except Exception as error:  # noqa: BLE001 - told in the summary; the other jobs go on
        sys.excepthook(type(error), error, error.__traceback__)
        errors.append(f"{type(error).__name__}: {one_sentence(error)}")
    word = json.dumps({"errors": errors, "left": left})
    files.write_text(folder / f"job{hydra_config.job.num}.json", word + "\n")


def _planned(sweep: Sweep, combination: Combination) -> _Job:
    planned = experiment.plan(combination.settings)
    is_due = bool(experiment.due_of(combination.settings, planned))
    return _Job(sweep, combination, [path for _, path, _ in planned], is_due, [], [])


def _work_off(jobs: Sequence[_Job], folder: Path) -> None:
    """Launch the jobs that have something to do, and again those whose runs other workers gave up."""
    due, rounds = [one for one in jobs if one.is_due], 0
    while due:
        for part, sweep in enumerate({id(one.sweep): one.sweep for one in due}.values()):
            own = [one for one in due if one.sweep is sweep]
            place = folder / f"round{rounds}-{part}"
            broken = launch(sweep, [one.combination for one in own], place, job)
            for number, one in enumerate(own):
                _hear(one, place / f"job{number}.json", broken)
        due, rounds = _wait(due), rounds + 1


def _hear(one: _Job, path: Path, broken: str | None) -> None:
    """Take what a job's process left, or what broke its launcher."""
    if path.is_file():
        word = json.loads(path.read_text(encoding="utf-8"))
        one.errors, one.left = word["errors"], [Path(place) for place in word["left"]]
    else:
        reason = "see the launcher's own log" if broken is None else f"the launcher said {broken}"
        one.errors, one.left = [f"the job ended without a word; {reason}"], []


def _wait(jobs: Sequence[_Job]) -> list[_Job]:
    """Wait while other workers have runs of these jobs; return the jobs whose runs they gave up."""
    suites = {path.parent for one in jobs for path in one.left}
    settings = jobs[0].combination.settings
    leases = {folder: Leases(folder, settings.lease_seconds) for folder in suites}
    while True:
        for one in jobs:
            one.left = [path for path in one.left if status_of(path) not in ("finished", "failed")]
        again = [
            one
            for one in jobs
            if any(leases[path.parent].can_be_taken(path.stem) for path in one.left)
        ]
        if again or not any(one.left for one in jobs):
            return again
        time.sleep(min(settings.lease_seconds / 3, LONGEST_PAUSE))


def _tidy(jobs: Sequence[_Job]) -> None:
    """Remove what killed workers left beside the records of finished runs."""
    finished: dict[Path, set[str]] = {}
    for one in jobs:
        for path in one.planned:
            if status_of(path) == "finished":
                finished.setdefault(path.parent, set()).add(path.stem)
    for folder, stems in finished.items():
        Leases(folder, SHORTEST_LEASE).clear(stems)


def _outcome(one: _Job) -> dict[str, Any]:
    """Return what became of one job, from its records and the file it left."""
    found = (record_at(path) for path in one.planned)
    runs = [record.as_dict() for record in found if record is not None]
    errors = [f"seed {run['seed']}: {run['error']}" for run in runs if run["status"] == "failed"]
    errors += one.errors
    complete = len(runs) == len(one.planned) and all(run["status"] == "finished" for run in runs)
    if not (complete or errors):
        errors.append(f"{len(one.planned) - len(runs)} of {len(one.planned)} seeds were not begun")
    return {
        "overrides": list(one.combination.overrides),
        "status": "finished" if complete and not errors else "failed",
        "errors": errors,
        **runs_as_json(runs),
    }
