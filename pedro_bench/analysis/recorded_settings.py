"""Recorded settings: what was in force in a run, from the configuration in its record.

A configuration has groups (`method`, `trainer`, `evaluation`, `task` …) of settings. Three things stand
between its text and what was in force:

- A record that is older than a setting lacks it. The setting's declaration (`checks.later`) or
  DEFAULTS_BEFORE says what was in force then, so that old and new records of one protocol agree. A test
  checks it for every setting that a committed record lacks.
- Of several configured learning rates one is in force, which stands under RATE_IN_FORCE.
- A value has several spellings: `1` and `1.0` are one, and so are null and an absent setting.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from typing import Any

from pedro_bench import records
from pedro_bench.checks import NEUTRAL
from pedro_bench.evaluation.config import LikelihoodConfig
from pedro_bench.protocols.task import Task
from pedro_bench.training.config import TrainerConfig

ROW_GROUPS = ("method", "trainer", "evaluation")
"""Groups of the configuration whose settings separate the rows of a table."""

RATE_IN_FORCE = "trainer.lr"
"""Name of the learning rate in force, whichever setting it follows from."""

LEFT_OUT_OF_KEY: Mapping[str, frozenset[str]] = {
    "method": records.NOT_IN_KEY["method"],
    "trainer": TrainerConfig.moves_no_number - {"lr"},
    "evaluation": records.NOT_IN_KEY["evaluation"],
}
"""Group -> settings that separate no rows, as they are no part of a run's key: names and labels, portion
sizes of scoring, how often a checkpoint is written."""

_SEPARATES_NO_ROW = {
    group: left_out | {"_target_", "name", "label", "lr"}
    for group, left_out in LEFT_OUT_OF_KEY.items()
}
"""The same with all names, and with the rates that RATE_IN_FORCE stands for."""

_SPELT_IN_ONE_WAY = frozenset({str, int, bool, type(None)})
"""Types of values that `normalised` leaves as they are."""


def _declared_later(kind: type) -> dict[str, Any]:
    """Return the settings of a class that came after its first records -> what was in force before."""
    return {one.name: one.metadata[NEUTRAL] for one in fields(kind) if NEUTRAL in one.metadata}


DEFAULTS_BEFORE: Mapping[str, Mapping[str, Any]] = {
    # the first two stand in every key, so they cannot be declared `later`
    "trainer": {
        "group_by_length": True,
        "micro_batch_tokens": None,
        **_declared_later(TrainerConfig),
    },
    "evaluation": _declared_later(LikelihoodConfig),  # what all evaluations share
    "task": _declared_later(Task),
}
"""Group -> settings of all its classes that came after the first records -> what was in force before them.
Those of one class follow from its declaration (`_declared_later_in`)."""


@dataclass(frozen=True)
class ChangedDefault:
    """A setting of a method that came with a change of what the method does by default.

    Attributes:
        setting: The setting, which records from before the change lack.
        note: What tables say of runs from before it.
    """

    setting: str
    note: str


CHANGED_DEFAULTS: Mapping[str, ChangedDefault] = {
    "pedro_bench.methods.ssp.Ssp": ChangedDefault(
        "alpha",
        "Made before SSP's LoRA modules were scaled by 16 as in the authors' code, and not by 1",
    ),
}
"""Class of a method -> the change."""


def with_defaults_before(group: str, recorded: Any) -> Any:
    """Return a group's settings, completed: what is older than a setting has what was in force then.

    Args:
        group: Name of the group.
        recorded: Its settings in a record; None or an empty mapping stays as it is.
    """
    if not recorded:
        return recorded
    of_class = _declared_later_in(str(recorded.get("_target_")))
    return {**DEFAULTS_BEFORE.get(group, {}), **of_class, **recorded}


@lru_cache(maxsize=256)
def _declared_later_in(target: str) -> Mapping[str, Any]:
    """Return what a class of the package declares `later`; nothing of one that is gone or another's.

    No record makes this process import a module that is not the package's.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("pedro_bench."):
        return {}
    try:
        return _declared_later(getattr(import_module(module), name))
    except (ImportError, AttributeError, TypeError):
        return {}


def known_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting that a record's configuration names and its key holds: `method.r` -> 12.

    What is absent there is not known, unless it is known what was in force before it
    (`with_defaults_before`).
    """
    groups = {group: with_defaults_before(group, config.get(group)) or {} for group in ROW_GROUPS}
    known = {
        f"{group}.{name}": value
        for group, settings in groups.items()
        for name, value in settings.items()
        if name not in _SEPARATES_NO_ROW[group]
    }
    if groups["trainer"]:
        known[RATE_IN_FORCE] = rate_in_force(groups["method"], groups["trainer"])
    return {
        name: value if type(value) in _SPELT_IN_ONE_WAY else normalised(value)
        for name, value in known.items()
    }


def rate_in_force(method: Mapping[str, Any], trainer: Mapping[str, Any]) -> Any:
    """Return the learning rate that `TrainerConfig.resolved_lr` gives, None where none is named."""
    own = method.get("lr")
    return trainer.get("lr") if own is None else own


def normalised(value: Any) -> Any:
    """Return a JSON value with whole numbers as integers and without nulls in its objects."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {name: normalised(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [normalised(one) for one in value]
    return value


def text_of(value: Any) -> str:
    """Return a setting in words: `none` for null, else as in JSON."""
    return "none" if value is None else json.dumps(value).strip('"')
