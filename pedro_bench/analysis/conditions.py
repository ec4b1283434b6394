"""Conditions: what the runs of one cell were made under, as far as their records say.

There are two kinds, since the rows of one method are named by the settings in which they differ:

- Facts: the rows that were read, the weights, the task, the versions of components, the device, and of an
  evaluation its own settings. Any two cells of a column should agree in them.
- Settings of trainer and evaluation. Cells of different methods should agree in them.

Neither holds what a method sets for itself (its learning rate, its precision), nor what only divides the
work into portions.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import (
    RATE_IN_FORCE,
    normalised,
    text_of,
    with_defaults_before,
)
from pedro_bench.analysis.run import Run

WEIGHTS = ("path", "revision", "random_weights")
"""Settings of a backbone that say which weights it is, where a record does not name the weights."""

RUN = "run"
"""Name of the fact that repeats of a measurement must share: which run made them, and where."""

WAY_OF_ANSWERING = "evaluation"
"""Name of the setting that says how test rows were answered: `generation` or `likelihood`."""

_WAY_OF_CLASS = {"EvaluationConfig": "generation", "BothConfig": "generation"}
"""Class of an evaluation -> how it finds the main metric, where the class's name does not say it."""

_MAY_DIFFER = frozenset(
    {RATE_IN_FORCE, "trainer.architecture_lr", "trainer.architecture_weight_decay"}
) | {f"trainer.{name}" for name in ("micro_batch_size", "micro_batch_tokens", "eval_batch_size")}
"""Settings that methods of one protocol may differ in: rates, and portions of the work."""

_NAMES_OF_TASK = records.NOT_IN_KEY["task"] | {"_target_"}
"""Settings of a task that are no part of a run's key; of its class the version is compared."""

_OF_OWN_ROWS = ("metric.", "evaluation.")
"""Beginnings of the components that have no part in an evaluation of a run."""

_LISTED_ELSEWHERE = frozenset({"fingerprint", "max_length"})
"""Parts of an evaluation that are a fact already (the test rows), or the method's."""

_LONG_HEXADECIMAL = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True)
class Conditions:
    """What one cell's runs were made under; what is not known is absent.

    Attributes:
        method: The method's name.
        facts: Name -> texts or JSON values, one, or several where seeds differ.
        settings: Name of a setting of trainer or evaluation -> its JSON value.
    """

    method: str
    facts: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]

    def texts(self, name: str) -> list[str]:
        """Return the values of a fact, or the value of a setting, in words."""
        values = self.facts[name] if name in self.facts else (self.settings[name],)
        return [one if isinstance(one, str) else text_of(one) for one in values]

    def agrees(self, other: "Conditions") -> bool:
        """Whether another cell has the same facts and settings, and knows neither less nor more."""
        return self.facts == other.facts and self.settings == other.settings


def conditions_of(runs: Sequence[Run], *, is_measured: bool = False) -> Conditions | None:
    """Return the conditions of a cell's finished runs, which share a key; None where there is none.

    `is_measured`: they are repeats of a measurement of the device.
    """
    if not runs:
        return None
    first = runs[0]
    facts = {
        "test rows": _distinct(_short(run.fingerprint("test")) for run in runs),
        "train rows": _distinct(_short(run.fingerprint("train")) for run in runs),
        "weights": _distinct([_with_short_digits(first.weights)]),
        **_backbone_facts(first.config),
        **_task_facts(first.config),
        **_version_facts(first),
        "device": _distinct(run.environment.device for run in runs),
        **_evaluation_facts(first),
    }
    if is_measured or first.is_measurement:
        facts[RUN] = _distinct(
            f"{run.key} of {run.started}, {run.environment.device_name}" for run in runs
        )
    known = {name: values for name, values in facts.items() if values}
    return Conditions(first.method, known, _protocol_settings(first))


def _backbone_facts(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    backbone = config.get("backbone")
    if not isinstance(backbone, Mapping):
        return {}
    return {f"backbone.{name}": (str(backbone.get(name) or "none"),) for name in WEIGHTS}


def _task_facts(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the settings of a task that can move a number, also those that its rows do not show."""
    task = with_defaults_before("task", config.get("task"))
    if not isinstance(task, Mapping):
        return {}
    return {
        f"task.{name}": (normalised(value),)
        for name, value in task.items()
        if name not in _NAMES_OF_TASK
    }


def _version_facts(run: Run) -> dict[str, tuple[Any, ...]]:
    """Return the versions of the components that made a run's numbers."""
    left_out = _OF_OWN_ROWS if run.evaluates is not None else ()
    return {
        f"version of {name}": (version,)
        for name, version in run.versions.items()
        if not name.startswith(left_out)
    }


def _evaluation_facts(run: Run) -> dict[str, tuple[Any, ...]]:
    """Return every part of an evaluation's settings and data; nothing of a run itself."""
    if run.evaluates is None:
        return {}
    parts: dict[str, Any] = {}
    for name, value in {**run.config["data"]["config"], **run.config["data"]["data"]}.items():
        if isinstance(value, Mapping):
            parts |= {f"{run.task}.{name}.{inner}": one for inner, one in value.items()}
        elif name not in _LISTED_ELSEWHERE:
            parts[f"{run.task}.{name}"] = value
    return {name: (text_of(normalised(value)),) for name, value in parts.items()}


def _protocol_settings(run: Run) -> dict[str, Any]:
    """Return the settings of trainer and evaluation; of an evaluation of a run the trainer's alone."""
    groups = ("trainer.",) if run.evaluates is not None else ("trainer.", "evaluation.")
    settings = {
        name: value
        for name, value in run.known.items()
        if name.startswith(groups) and name not in _MAY_DIFFER
    }
    if way := _way_of_answering(run):
        settings[WAY_OF_ANSWERING] = way
    return settings


def _way_of_answering(run: Run) -> str | None:
    """Return how a run's own test rows were answered: `generation` or `likelihood`."""
    target = dict(run.config.get("evaluation") or {}).get("_target_")
    if run.evaluates is not None or target is None:
        return None
    name = str(target).rpartition(".")[2]
    return _WAY_OF_CLASS.get(name, name.removesuffix("Config").lower())


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _short(fingerprint: str | None) -> str | None:
    return fingerprint and fingerprint[:8]


def _with_short_digits(identity: str | None) -> str | None:
    """Return the identity of weights with long hexadecimal numbers by 8 digits."""
    return identity and _LONG_HEXADECIMAL.sub(lambda digits: digits[0][:8], identity)
