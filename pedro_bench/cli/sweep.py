"""Multirun: every combination checked first, then run by Hydra's launcher, then summed up.

A job never raises: what went wrong is written beside the sweep's working files and told at the
end, so one failing job stops no other. The summary is read from records, whichever launcher ran
the jobs.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pedro_bench import records
from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.command import (
    DONE,
    RUN_FAILED,
    logs_to_stderr,
    one_sentence,
    print_json,
)
from pedro_bench.cli.compose import GRID, HYDRA_VERSION_BASE, Combination, Sweep
from pedro_bench.cli.folders import check_folders
from pedro_bench.cli.grids import sweeps_of
from pedro_bench.cli.options import conf_folder, make_importable
from pedro_bench.cli.show import runs_as_json, show_jobs
from pedro_bench.errors import PedroBenchError


def multirun(arguments: Sequence[str]) -> int:
    """Check every combination, run them all, print the summary; return the exit code.

    Raises:
        PedroBenchError: If any combination is bad, before the first job starts.
    """
    sweeps = sweeps_of(arguments)
    for combination in (one for sweep in sweeps for one in sweep.combinations):
        check_folders(combination.settings)
    from pedro_bench import experiment  # here, since it takes longer to import than to refuse

    planned = [
        [Path(place) for _, place, _ in experiment.plan(combination.settings)]
        for sweep in sweeps
        for combination in sweep.combinations
    ]
    settings = sweeps[0].combinations[0].settings
    folder = Path(settings.output_dir) / "multirun" / time.strftime("%Y%m%d-%H%M%S")
    folder = folder.with_name(f"{folder.name}-{os.getpid()}").absolute()
    folders = [folder.with_name(f"{folder.name}-{part}") for part in range(len(sweeps))]
    with logs_to_stderr():
        for sweep, own in zip(sweeps, folders, strict=True):
            _launch(sweep, own)
    ended = [
        (combination, own / f"job{number}.json")
        for sweep, own in zip(sweeps, folders, strict=True)
        for number, combination in enumerate(sweep.combinations)
    ]
    jobs = [
        _outcome(combination, places, path)
        for (combination, path), places in zip(ended, planned, strict=True)
    ]
    failed = sum(job["status"] != "finished" for job in jobs)
    if settings.output == "json":
        print_json({"jobs": jobs, "finished": len(jobs) - failed, "failed": failed})
    else:
        show_jobs(jobs)
    return RUN_FAILED if failed else DONE


def job(config: DictConfig) -> None:
    """Run one combination where the launcher put it; leave what went wrong in a file."""
    from pedro_bench import experiment  # imports torch only when a run is due

    hydra_config = HydraConfig.get()
    for place in hydra_config.searchpath:  # a launcher's own process does not know of it yet
        make_importable(Path(str(place).removeprefix("file://")))
    errors: list[str] = []
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        own = {key: value for key, value in plain.items() if key != GRID}
        experiment.run(settings_from(own))
    except PedroBenchError as error:
        errors.append(one_sentence(error))
    except Exception as error:  # noqa: BLE001 - told in the summary; the other jobs go on
        sys.excepthook(type(error), error, error.__traceback__)
        errors.append(f"{type(error).__name__}: {one_sentence(error)}")
    path = Path(hydra_config.sweep.dir) / f"job{hydra_config.job.num}.json"
    records.write_text(path, json.dumps({"errors": errors}) + "\n")


def _launch(sweep: Sweep, folder: Path) -> None:
    """Hand the sweep to Hydra, which reads its command line from `sys.argv`."""
    typed = sys.argv
    sys.argv = [typed[0], "--multirun", f"hydra.sweep.dir='{folder}'", *sweep.arguments]
    try:
        hydra.main(
            version_base=HYDRA_VERSION_BASE, config_path=str(conf_folder()), config_name="config"
        )(job)()
    finally:
        sys.argv = typed


def _outcome(combination: Combination, planned: Sequence[Path], path: Path) -> dict[str, Any]:
    """Return what became of one job, from its records and the file it left."""
    runs = [records.read(place).as_dict() for place in planned if place.is_file()]
    errors = [f"seed {run['seed']}: {run['error']}" for run in runs if run["status"] == "failed"]
    if path.is_file():
        errors += json.loads(path.read_text(encoding="utf-8"))["errors"]
    else:
        errors.append("the job ended without a word; see the launcher's own log")
    complete = len(runs) == len(planned) and all(run["status"] == "finished" for run in runs)
    return {
        "overrides": list(combination.overrides),
        "status": "finished" if complete and not errors else "failed",
        "errors": errors,
        **runs_as_json(runs),
    }
