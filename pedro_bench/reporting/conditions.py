"""Conditions: what the runs of two cells must share, so that a difference between them is the methods'.

Records of one task and backbone stand in one column by their names. A name says neither how long a run was
trained (`trainer.max_steps`), nor which rows it read (`data.holdout`), nor which weights lay at
`backbone.path`, nor which judge graded it. Cells that differ in any of it are shown, and not compared.

Not among them is what a method sets for itself (its learning rate, its precision) and what only divides
the work into portions. Of two rows of one method the settings may differ: their names say in what. What a
record does not tell is no difference. Speed and memory have one condition more: one measurement.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pedro_bench.reporting.settings import RATE, normalised
from pedro_bench.reporting.stored import Run

WEIGHTS = ("path", "revision", "random_weights")
"""Settings of a backbone that say which weights it is, where a record does not name the weights."""

RUN = "run"
"""What repeats of a measurement must share."""

OTHER_PROTOCOLS, OTHER_RUNS = "different protocols", "measured in different runs"
"""What begins a reason why two cells that have runs cannot be compared."""

_FREE = frozenset({RATE, "trainer.architecture_lr", "trainer.architecture_weight_decay"}) | {
    f"trainer.{name}" for name in ("micro_batch_size", "micro_batch_tokens", "eval_batch_size")
}
"""Settings that methods of one protocol may differ in: rates, and portions of the work."""

_FREE_PARTS = frozenset({"fingerprint", "max_length"})
"""Parts of an evaluation told elsewhere (the test rows), or the method's: tokens that it leaves."""

_KINDS = {"EvaluationConfig": "generation", "BothConfig": "generation"}
"""Class of an evaluation -> how it finds the main metric, where the class's name does not say it."""

_DIGITS = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True)
class Conditions:
    """What one cell's runs were made under.

    Attributes:
        method: The method's name.
        settings: Settings of trainer and evaluation -> value in JSON; an absent one is not known.
        facts: Everything else -> its values, several where seeds differ.
    """

    method: str
    settings: Mapping[str, Any]
    facts: Mapping[str, tuple[str, ...]]

    def is_like(self, other: "Conditions") -> bool:
        """Whether all that is known of both is the same."""
        return self.facts == other.facts and self.settings == other.settings


def conditions_of(runs: Sequence[Run], *, is_measured: bool = False) -> Conditions | None:
    """Collect the conditions of a cell's finished runs, which share a key; None where there is none.

    Args:
        runs: The runs.
        is_measured: Whether they are repeats of a measurement of the device.
    """
    if not runs:
        return None
    first = runs[0]
    facts = {
        "test rows": _known(_short(run.test_rows) for run in runs),
        "train rows": _known(_short(run.train_rows) for run in runs),
        "weights": _known((_weights(first),)),
        **_backbone(first.config),
        "device": _known(run.device for run in runs),
    }
    if first.evaluated is not None:
        facts |= _parts(first)
    if is_measured or "efficiency" in first.config:
        facts[RUN] = _known(f"{run.key} of {run.started}, {run.device_name}" for run in runs)
    groups = ("trainer.",) if first.evaluated is not None else ("trainer.", "evaluation.")
    settings = {
        name: value
        for name, value in first.settings.items()
        if name not in _FREE and name.startswith(groups)
    }
    if kind := _kind(first):
        settings["evaluation"] = kind
    return Conditions(first.method, settings, {name: own for name, own in facts.items() if own})


def differences(one: Conditions, other: Conditions) -> dict[str, tuple[str, str]]:
    """Return name -> what either has, for everything that both tell and in which they differ."""
    if one.is_like(other):
        return {}
    found = {
        name: (", ".join(own), ", ".join(other.facts[name]))
        for name, own in one.facts.items()
        if own != other.facts.get(name, own)
    }
    if one.facts.get("weights") == other.facts.get("weights", ()):
        found = {name: both for name, both in found.items() if not name.startswith("backbone.")}
    if one.method != other.method and one.settings != other.settings:
        for name, value in one.settings.items():
            if name in other.settings and text_of(value) != text_of(other.settings[name]):
                found[name] = (text_of(value), text_of(other.settings[name]))
    return found


def hindrance(one: Conditions | None, other: Conditions | None) -> str:
    """Return why two cells cannot be compared, empty where they can."""
    found = differences(one, other) if one and other else {}
    if RUN in found:
        return OTHER_RUNS
    told = [f"{name} {own} and {theirs}" for name, (own, theirs) in found.items()]
    return f"{OTHER_PROTOCOLS} ({'; '.join(told)})" if told else ""


def are_shared(cells: Iterable[Conditions | None]) -> bool:
    """Whether every two of some cells can be compared."""
    having = [one for one in cells if one is not None]
    if all(one.is_like(having[0]) for one in having):
        return True
    return not any(differences(one, other) for one, other in combinations(having, 2))


def text_of(value: Any) -> str:
    """Return a setting in words: `none` for null, else as in JSON."""
    return "none" if value is None else json.dumps(value).strip('"')


def _known(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _short(fingerprint: str | None) -> str | None:
    return fingerprint and fingerprint[:8]


def _weights(run: Run) -> str | None:
    """Return what the run's record calls the weights, long numbers by their first digits."""
    if run.weights is None:
        return None
    return _DIGITS.sub(lambda digits: digits[0][:8], run.weights)


def _backbone(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    backbone = config.get("backbone")
    if not isinstance(backbone, Mapping):
        return {}
    return {f"backbone.{name}": (str(backbone.get(name) or "none"),) for name in WEIGHTS}


def _kind(run: Run) -> str | None:
    """Return how a run's own test rows were answered: `generation` or `likelihood`."""
    target = dict(run.config.get("evaluation") or {}).get("_target_")
    if run.evaluated is not None or target is None:
        return None
    name = str(target).rpartition(".")[2]
    return _KINDS.get(name, name.removesuffix("Config").lower())


def _parts(run: Run) -> dict[str, tuple[str, ...]]:
    """Return every part of an evaluation's settings and data, null where it has none."""
    found: dict[str, Any] = {}
    for name, value in {**run.config["data"]["config"], **run.config["data"]["data"]}.items():
        if isinstance(value, Mapping):
            found |= {f"{run.task}.{name}.{inner}": one for inner, one in value.items()}
        elif name not in _FREE_PARTS:
            found[f"{run.task}.{name}"] = value
    return {name: (text_of(normalised(value)),) for name, value in found.items()}
