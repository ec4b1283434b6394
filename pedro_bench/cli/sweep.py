"""Multirun: every combination checked first, then run by Hydra's launcher, then summed up.

A job never raises: what went wrong is written beside the sweep's working files and told at the
end, so one failing job stops no other (with `fail_fast=true` it stops those that have not begun). The
summary is read from records, whichever launcher ran the jobs, and whichever worker did the runs: the
same command may be started on several machines that share the results folder.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pedro_bench import experiment, files
from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.command import (
    DONE,
    RUN_FAILED,
    ends_on_signals,
    logs_to_stderr,
    one_sentence,
    print_json,
)
from pedro_bench.cli.folders import check_folders
from pedro_bench.cli.grids import sweeps_of
from pedro_bench.cli.jobs import Combination, Sweep
from pedro_bench.cli.launching import LEAVE, STOP, begun, check_launcher, pin_gpu, word_of
from pedro_bench.cli.options import make_importable
from pedro_bench.cli.overrides import GRID
from pedro_bench.cli.rounds import Job, work_off
from pedro_bench.cli.show import runs_as_json, show_jobs
from pedro_bench.errors import ConfigError, PedroBenchError
from pedro_bench.experiment.leftovers import clear_leftovers
from pedro_bench.experiment.sharing import digests, record_at
from pedro_bench.ranks import launch
from pedro_bench.training.interruption import Interrupted

TIME_LIMIT = (128 + signal.SIGUSR1, 128 + signal.SIGUSR2)
"""Exit codes of a job that a cluster asked to leave before its time limit: it is to be launched again."""

SEEN = "seen.json"
"""Name of the file in a multirun's folder with digests of the records that were there when it began."""


def multirun(arguments: Sequence[str]) -> int:
    """Check every combination, run them all, print the summary; return the exit code.

    Raises:
        PedroBenchError: If any combination is bad, before the first job starts, or if accelerate
            started other processes beside this one.
    """
    if launch().size > 1:
        raise ConfigError(
            f"a multirun must be one process, got WORLD_SIZE={launch().size}: start one "
            "accelerate launch for each configuration, without -m."
        )
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
    seen = digests(path for one in jobs if one.is_due for path in one.planned)
    if seen:
        files.write_text(folder / SEEN, json.dumps(seen) + "\n")
    with logs_to_stderr():
        work_off(jobs, folder, job)
    for one in jobs:
        clear_leftovers(one.combination.settings, one.planned)
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
    folder, number = Path(hydra_config.sweep.dir), int(hydra_config.job.num)
    launcher = str(hydra_config.launcher._target_)
    is_own_process = "BasicLauncher" not in launcher
    stop = folder.parent / STOP
    errors: list[str] = []
    left: list[str] = []
    again = False
    with contextlib.suppress(OSError):  # a full disk: the run tells
        begun(folder, number).touch()
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        settings = settings_from({key: value for key, value in plain.items() if key != GRID})
        if settings.fail_fast and stop.exists():
            errors.append(f"not begun, since {stop.read_text(encoding='utf-8')} failed")
        elif (folder.parent / LEAVE).exists():
            errors.append("not begun, since the command was interrupted")
        else:
            if "Joblib" in launcher:
                pin_gpu(folder)
            # A cluster's own way to take such signals would count the run as failed.
            with ends_on_signals() if is_own_process else contextlib.nullcontext():
                worked = experiment.work(settings, waits=False, seen=_seen(folder.parent))
            left = [str(path.absolute()) for path in worked.left]
            if any(record["status"] == "failed" for record in worked.records):
                stop.write_text(f"job {number}", encoding="utf-8")
    except PedroBenchError as error:
        errors.append(one_sentence(error))
    except Interrupted as error:
        if not is_own_process:
            raise
        errors.append(f"interrupted, {one_sentence(error)} The same command goes on there.")
        again = error.exit_code in TIME_LIMIT
    except Exception as error:  # noqa: BLE001 - told in the summary; the other jobs go on
        sys.excepthook(type(error), error, error.__traceback__)
        errors.append(f"{type(error).__name__}: {one_sentence(error)}")
    word = json.dumps({"errors": errors, "left": left, "again": again})
    files.write_text(word_of(folder, number), word + "\n")


def _seen(folder: Path) -> dict[str, str]:
    """Return what was there when the multirun of a folder began."""
    path = folder / SEEN
    found: dict[str, str] = json.loads(files.read_bytes(path)) if path.is_file() else {}
    return found


def _planned(sweep: Sweep, combination: Combination) -> Job:
    planned = experiment.plan(combination.settings)
    is_due = bool(experiment.due_of(combination.settings, planned))
    return Job(sweep, combination, [path for _, path, _ in planned], is_due)


def _outcome(one: Job) -> dict[str, Any]:
    """Return what became of one job, from its records and the file it left."""
    found = (record_at(path) for path in one.planned)
    runs = [record.as_dict() for record in found if record is not None]
    errors = [f"seed {run['seed']}: {run['error']}" for run in runs if run["status"] == "failed"]
    errors += one.errors
    complete = len(runs) == len(one.planned) and all(run["status"] == "finished" for run in runs)
    if not (complete or errors):
        ended = sum(run["status"] == "finished" for run in runs)
        errors.append(
            f"{len(one.planned) - ended} of {len(one.planned)} seeds did not come to an end"
        )
    return {
        "overrides": list(one.combination.overrides),
        "status": "finished" if complete and not errors else "failed",
        "errors": errors,
        **runs_as_json(runs),
    }
