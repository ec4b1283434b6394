"""`python -m pedro_bench.cli.tune +experiment=table1 rates=NAME`: each method's rate, by dev data alone.

It takes what `python -m pedro_bench -m` takes (an experiment, or methods and tasks), and

    trials=7                   trials of each method, the same rates for all
    lr=[1e-4,1e-1]             the lowest and the highest rate; three or more are the rates themselves
    seeds=[0,1,2]              after the first seed the better half goes on, the last two have every seed
    halving=true               false runs every trial with every seed
    per=method                 one rate a method for all tasks, or `task`: one for each task
    rates=NAME                 writes conf/rates/NAME.yaml, which trainer.rates=NAME reads
    rates_dir=conf/rates       the folder of that file
    output=text|json

A method whose YAML names `tuned: {alpha: [8, 16]}` has these values tried along with its rates, in the same
number of trials. Trials are ordinary records in the suite tune_NAME: what is finished, with or without its
predictions, or has diverged is not run again, and workers share them. Trials are compared by dev loss, so
trainer.metric_for_best_model must be loss. The dev split that chooses a rate also stops training early, as in
the papers; no choice reads the test split (its scores stand in the records).
"""

import math
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pedro_bench import checks
from pedro_bench.cli.command import (
    DONE,
    RUN_FAILED,
    check_folder,
    check_output,
    guarded,
    print_json,
    split_flags,
)
from pedro_bench.cli.hydra.compose import keys_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.hydra.rates import check_extendable, write_rates
from pedro_bench.cli.hydra.sweep import combinations_of
from pedro_bench.cli.options import CONFIG_DIR, RATES, conf_folders, outside_flags
from pedro_bench.cli.run import require_one_process
from pedro_bench.cli.trials import TrialGrid
from pedro_bench.errors import ConfigError
from pedro_bench.grid.tuning import TRIALS, Trial, points, rates_of, search
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import check_name

DEFAULTS: Mapping[str, Any] = {
    "trials": None,
    "lr": [1e-4, 1e-1],
    "halving": True,
    "per": "method",
    "rates": None,
    "rates_dir": "conf/rates",
}
"""The command's own keys."""


def tune(arguments: Sequence[str]) -> int:
    """Search each method's rate and write the table of rates; return the exit code.

    Raises:
        PedroBenchError: If the input is bad; nothing is run or written then.
    """
    require_one_process(
        "a search", "start it without accelerate, with workers=N for N trials at a time"
    )
    given, overrides = split_extra(split_flags(arguments, ("-m", "--multirun")), DEFAULTS)
    _check(given)
    overrides = [
        *(one for one in overrides if not one.startswith("trainer.rates=")),
        "trainer.rates=null",
    ]
    combinations = combinations_of([*overrides, f"suite={TRIALS}{given['rates']}"])
    settings = combinations[0].settings
    check_output(settings.output)
    _refuse_switches(settings)
    _refuse_searched(keys_of(overrides))
    if any(one.settings.trainer.is_best_by_metric for one in combinations):
        raise ConfigError(
            "trainer.metric_for_best_model must be loss, since a search compares dev losses, got "
            "main_metric: add trainer.metric_for_best_model=loss to the command."
        )
    path = Path(given["rates_dir"]) / f"{given['rates']}.yaml"
    check_folder("rates_dir", path.parent)
    check_extendable(path)
    trial_grid = TrialGrid(combinations, overrides)
    trials = {name: _trials(own, given) for name, own in trial_grid.methods.items()}
    groups = [trial_grid.tasks] if given["per"] == "method" else [[one] for one in trial_grid.tasks]
    rules, outcome, is_whole = [], [], True
    for tasks in groups:
        own = {name: [Trial(one.values) for one in these] for name, these in trials.items()}
        chosen = search(
            own, tasks, settings.seeds, trial_grid.run_on(tasks), is_halved=given["halving"]
        )
        for name, best in chosen.items():
            outcome.append({"method": name, "tasks": tasks, **_told(own[name], best, tasks)})
            is_whole &= best is not None
            if best is not None:
                rules.append(_rule(given, best, trial_grid.settings_of(name, tasks), tasks))
    words = ["python", "-m", "pedro_bench.cli.tune", *outside_flags(), *arguments]
    command = shlex.join(words)
    if rules:
        write_rates(path, rules, command)
    if settings.output == "json":
        written = str(path) if rules else None
        print_json({"methods": outcome, "failures": trial_grid.failures, "path": written})
    else:
        _show(outcome, trial_grid.failures, path if rules else None)
    return DONE if is_whole else RUN_FAILED


def _refuse_switches(settings: Settings) -> None:
    """Refuse what leaves trials out: each has an outcome, and those that failed are run again anyway."""
    for key in ("retry", "fail_fast"):
        if getattr(settings, key):
            raise ConfigError(
                f"{key} must be false in a search, which needs the outcome of every trial and runs those "
                "that failed without one again, got true: leave it out."
            )


def _refuse_searched(typed: Collection[str]) -> None:
    """Refuse typed values of what the search sets itself."""
    for key, own in (
        ("method.lr", "lr=[LOW,HIGH]"),
        ("trainer.lr", "lr=[LOW,HIGH]"),
        ("suite", "rates=NAME"),
    ):
        if key in typed:
            raise ConfigError(
                f"{key} must be left out in a search, which sets it for every trial, got it typed: {own} "
                "says what is tried and where it is recorded."
            )


def _check(given: Mapping[str, Any]) -> None:
    if given["rates"] is None:
        raise ConfigError(
            "rates must name the table to write, got nothing: add rates=NAME to the command."
        )
    check_name("rates", given["rates"])
    checks.path("rates_dir", given["rates_dir"])
    checks.integer("trials", given["trials"], least=2, optional=True)
    checks.flag("halving", given["halving"])
    checks.choice("per", given["per"], ("method", "task"))
    lr = given["lr"]
    if not isinstance(lr, list) or len(lr) < 2:
        raise ConfigError(f"lr must be two rates or more, such as lr=[1e-4,1e-1], got {lr!r}.")
    for one in lr:
        checks.number("lr", one, above=0)
    rates_of(lr, given["trials"])


def _trials(method: Any, given: Mapping[str, Any]) -> list[Trial]:
    """Return a method's trials; with a knob of its own, its values in turn."""
    knob = next(
        ((f"method.{name}", tuple(own)) for name, own in (method.tuned or {}).items()), None
    )
    return [Trial(values) for values in points(rates_of(given["lr"], given["trials"]), knob)]


def _rule(
    given: Mapping[str, Any], best: Trial, settings: Sequence[Settings], tasks: Sequence[str]
) -> dict[str, Any]:
    """Return the entry of a table of rates for the method of these settings."""
    where = {"backbone": settings[0].backbone.name, "method": settings[0].method.name}
    if given["per"] == "task":
        where["task"] = tasks[0]
    return {"for": where, "set": dict(best.values), "tried": _tried(given, settings, tasks)}


def _tried(
    given: Mapping[str, Any], settings: Sequence[Settings], tasks: Sequence[str]
) -> dict[str, Any]:
    """Return how a rate was found, with what bounds the length of all its trials alike."""
    rates = rates_of(given["lr"], given["trials"])
    trainers = [one.trainer for one in settings]
    bounds = {
        key: getattr(trainers[0], key)
        for key in ("max_steps", "num_epochs")
        if len({getattr(one, key) for one in trainers}) == 1
    }
    return {
        "trials": len(rates),
        "lr": [rates[0], rates[-1]],
        "seeds": list(settings[0].seeds),
        "halving": given["halving"],
        "tasks": list(tasks),
        "trainer": trainers[0].name,
        **bounds,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _told(trials: Sequence[Trial], best: Trial | None, tasks: Sequence[str]) -> dict[str, Any]:
    shown = []
    for one in trials:
        losses = {
            task: {str(seed): None if math.isinf(loss) else loss
                   for (name, seed), loss in one.losses.items() if name == task}
            for task in tasks
        }  # fmt: skip
        merit = one.merit(tasks)
        shown.append(
            {
                "values": dict(one.values),
                "dev_losses": losses,
                "merit": None if math.isinf(merit) else merit,
            }
        )
    return {"chosen": dict(best.values) if best else None, "trials": shown}


def _show(outcome: Sequence[Mapping[str, Any]], failures: Sequence[str], path: Path | None) -> None:
    table = Table("method", "tasks", "settings", "seeds", "dev loss", "chosen")
    table.columns[2].no_wrap, table.columns[2].overflow = True, "fold"
    for one in outcome:
        for trial in one["trials"]:
            seeds = {seed for losses in trial["dev_losses"].values() for seed in losses}
            merit = "failed" if trial["merit"] is None else f"{trial['merit']:.4f}"
            values = {key.removeprefix("method."): one for key, one in trial["values"].items()}
            settings = " ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                                for key, value in values.items())  # fmt: skip
            mark = "yes" if trial["values"] == one["chosen"] else ""
            table.add_row(
                one["method"], " ".join(one["tasks"]), settings, str(len(seeds)), merit, mark
            )
    Console().print(table)
    for line in failures:
        print(f"failed: {line}")
    print(
        "dev loss: the geometric mean over tasks of the median over seeds; nats an answer token, of a "
        "regression the squared error"
    )
    print(_place(path) if path else "no method has a rate whose runs ended: nothing was written")


def _place(path: Path) -> str:
    """Say where rates lie and, if that is no folder of options in use, how they are read."""
    known = [(folder / RATES / path.name).resolve() for folder in conf_folders()]
    if path.resolve() in known:
        return f"rates in {path}"
    folder = path.parent.parent if path.parent.name == RATES else f"DIR, from DIR/{RATES}"
    return f"rates in {path}; trainer.rates={path.stem} reads them with {CONFIG_DIR} {folder}"


if __name__ == "__main__":
    sys.exit(guarded(tune, sys.argv[1:], __doc__))
