"""The trials of a search as ordinary runs: what has an outcome is read, the rest runs in one grid."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pedro_bench.cli.hydra.sweep import Combination
from pedro_bench.cli.run import worked_off
from pedro_bench.errors import ConfigError, DivergenceError, TrainingError
from pedro_bench.grid.grid import settings_again
from pedro_bench.grid.planning import seed_runs
from pedro_bench.grid.tuning import Losses, Trial
from pedro_bench.protocols.settings import WORK_KEYS, Settings
from pedro_bench.records import record_at


class TrialGrid:
    """Runs trials on an experiment's combinations.

    Args:
        combinations: One for each method and task, every method with every task.
        overrides: As typed; those of Hydra's launcher act on the trials.

    Attributes:
        failures: Why trials failed, one line each.

    Raises:
        ConfigError: If a method and task come more than once or not at all, or if combinations have
            several backbones or lists of seeds.
    """

    def __init__(self, combinations: Sequence[Combination], overrides: Sequence[str]) -> None:
        self._overrides = overrides
        self.failures: list[str] = []
        self._settings: dict[tuple[str, str], Settings] = {}
        for one in combinations:
            place = (one.settings.method.name, one.settings.task.name)
            if place in self._settings:
                raise ConfigError(
                    f"method={place[0]} task={place[1]} must stand once in what is tuned, got it again "
                    f"({' '.join(one.overrides)}): choose one size and one backbone."
                )
            self._settings[place] = one.settings
        self.tasks = list(dict.fromkeys(task for _, task in self._settings))
        self.methods = {name: own.method for (name, _), own in self._settings.items()}
        for method, task in product(self.methods, self.tasks):
            if (method, task) not in self._settings:
                raise ConfigError(
                    f"every method must have every task in what is tuned, got no method={method} with "
                    f"task={task}: choose tasks that all methods have, or one method after another."
                )
        _require_one("backbone", {one.backbone.name for one in self._settings.values()})
        _require_one("seeds", {str([*one.seeds]) for one in self._settings.values()})

    def settings_of(self, method: str, tasks: Sequence[str]) -> list[Settings]:
        """Return the settings of a method on each task, without a trial's values."""
        return [self._settings[method, task] for task in tasks]

    def run_on(self, tasks: Sequence[str]) -> Any:
        """Return what runs (method, trial) pairs with some seeds on these tasks, all in one grid."""

        def run(pairs: Sequence[tuple[str, Trial]], seeds: Sequence[int]) -> list[Losses]:
            places = [(number, task) for number in range(len(pairs)) for task in tasks]
            jobs = self._jobs([(*pairs[number], task) for number, task in places], seeds)
            _require_outcomes(jobs, len(seeds))
            found: list[dict[tuple[str, int], float]] = [{} for _ in pairs]
            for (number, task), job in zip(places, jobs, strict=True):
                found[number].update({(task, run["seed"]): _loss(run) for run in job["runs"]})
                name = " ".join(job["overrides"])
                self.failures += [f"{name}: {reason}" for reason in job["errors"]]
            return list(found)

        return run

    def _jobs(
        self, trials: Sequence[tuple[str, Trial, str]], seeds: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return what became of (method, trial, task); what has an outcome is not run again."""
        kept = [_outcomes(self._with(*one, seeds)[1]) for one in trials]
        left = [[seed for seed in seeds if seed not in own] for own in kept]
        rest = [
            Combination(*self._with(*one, missing))
            for one, missing in zip(trials, left, strict=True)
            if missing
        ]
        made = iter(worked_off(rest, self._overrides) if rest else ())
        jobs = []
        for one, own, missing in zip(trials, kept, left, strict=True):
            job = next(made) if missing else {"overrides": _shown(*one), "errors": [], "runs": []}
            errors = [f"seed {seed}: {run['error']}" for seed, run in own.items() if run["error"]]
            runs = [*own.values(), *job["runs"]]
            jobs.append({**job, "errors": [*errors, *job["errors"]], "runs": runs})
        return jobs

    def _with(
        self, method: str, trial: Trial, task: str, seeds: Sequence[int]
    ) -> tuple[tuple[str, ...], Settings]:
        settings = self._settings[method, task]
        config = dict(settings.resolved_config)
        for key, value in trial.values.items():
            group, _, name = key.partition(".")
            config[group] = {**config[group], name: value}
        work = {key: getattr(settings, key) for key in WORK_KEYS}
        shown = tuple(_shown(method, trial, task))
        return shown, settings_again({**config, **work, "seeds": list(seeds)})


def _shown(method: str, trial: Trial, task: str) -> list[str]:
    """Return what separates a trial from the others, as overrides."""
    return [f"method={method}", f"task={task}", *(f"{k}={v}" for k, v in trial.values.items())]


def _outcomes(settings: Settings) -> dict[int, dict[str, Any]]:
    """Return seed -> record of the runs that are finished, predictions or not, or that diverged."""
    if settings.rerun:
        return {}
    found = {run.seed: record_at(run.record) for run in seed_runs(settings)}
    return {
        seed: record.as_dict()
        for seed, record in found.items()
        if record is not None
        and (record.status == "finished" or record.error_type == DivergenceError.__name__)
    }


def _require_outcomes(jobs: Sequence[Mapping[str, Any]], seeds: int) -> None:
    """Require that every trial ran to an end with so many seeds, be it that it diverged.

    Raises:
        TrainingError: If some did not, as where workers were asked to end, memory ran out or a method does
            not fit; a rate that is chosen of the others may be a worse one.
    """
    ended = [sum(map(_is_outcome, job["runs"])) for job in jobs]
    without = [job for job, number in zip(jobs, ended, strict=True) if number < seeds]
    if without:
        reasons = dict.fromkeys(reason.rstrip(".") for job in without for reason in job["errors"])
        raise TrainingError(
            f"a search must have the outcome of every trial, got {seeds * len(jobs) - sum(ended)} runs "
            f"without one ({'; '.join(reasons)}): no rate is written, and the same command goes on "
            "with what ended."
        )


def _is_outcome(run: Mapping[str, Any]) -> bool:
    """Whether a run has a dev loss, or diverged; of older failed records it is not known why."""
    if run["status"] == "failed":
        return run.get("error_type") in (None, DivergenceError.__name__)
    return bool(run["status"] == "finished")


def _require_one(key: str, found: set[str]) -> None:
    """Refuse combinations that differ in what one search has once."""
    if len(found) > 1:
        raise ConfigError(
            f"{key} must be the same for all methods and tasks of a search, got {' and '.join(sorted(found))}"
            f": choose one with {key}=…, or tune one after another."
        )


def _loss(run: Mapping[str, Any]) -> float:
    """Return the best dev loss of a finished run, else infinity."""
    return float(run["metrics"]["dev"]["loss"]) if run["status"] == "finished" else math.inf
