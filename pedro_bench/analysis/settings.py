"""Settings: what of a run's configuration separates rows of a table, which is what can move a number.

What the key of a run leaves out makes no row: names and labels, portion sizes of scoring, how often a
checkpoint is written. Of the learning rates that a configuration may name, the one in force stands for all.
`1` and `1.0` are one value, and so are null and an absent setting. What the key leaves out is decided in
`runs/identity.py`; a test keeps both equal.

A record that is older than a setting lacks it. EARLIER says what was in force then, so that old and new
records of one protocol share a row; a test checks it for every setting that a committed record lacks.
"""

from collections.abc import Mapping
from typing import Any

from pedro_bench.training.config import TrainerConfig

ROW_GROUPS = ("method", "trainer", "evaluation")
"""Groups of the configuration whose settings separate rows."""

RATE = "trainer.lr"
"""Name of the learning rate in force, whichever setting it follows from."""

NOT_IN_KEY: Mapping[str, frozenset[str]] = {
    "method": frozenset({"name", "label", "lr", "micro_lr", "tuned"}),
    "trainer": TrainerConfig.moves_no_number - {"lr"},
    "evaluation": frozenset({"name", "batch_size", "forgetting"}),
}
"""Group -> settings that are no part of a run's key."""

EARLIER: Mapping[str, Mapping[str, Any]] = {
    "trainer": {
        "group_by_length": True,
        "micro_batch_tokens": None,
        "lr_scheduler_type": "linear",
        "label_smoothing_factor": 0.0,
        "warmup_steps": None,
        "eval_every_epochs": None,
        "eval_rows": None,
    },
    "evaluation": {"test_rows": None},
    "pedro_bench.evaluation.config.EvaluationConfig": {
        "no_repeat_ngram_size": 0,
        "test_rows": None,
    },
    "pedro_bench.evaluation.config.BothConfig": {"no_repeat_ngram_size": 0, "test_rows": None},
    "pedro_bench.evaluation.config.LikelihoodConfig": {"test_rows": None},
    "pedro_bench.methods.ssp.Ssp": {"alpha": 1.0},
}
"""Group or class -> settings that came after the first records -> what was in force before them."""

CHANGED: Mapping[str, tuple[str, str]] = {
    "pedro_bench.methods.ssp.Ssp": (
        "alpha",
        "Made before SSP's LoRA modules were scaled by 16 as in the authors' code, and not by 1",
    ),
}
"""Class of a method -> the setting that records from before a change of its default lack, and the change."""

_NO_ROW = {
    group: left_out | {"_target_", "name", "label", "lr", "micro_lr", "untuned_lr"}
    for group, left_out in NOT_IN_KEY.items()
}
"""The same with all names, and the rates that RATE stands for."""


_WHOLE = frozenset({str, int, bool, type(None)})
"""Types of values that are in one spelling already."""


def with_earlier(group: str, own: Any) -> Any:
    """Return a group's settings; what is older than a setting has what was in force then."""
    if not own:
        return own
    later = {**EARLIER.get(group, {}), **EARLIER.get(str(own.get("_target_")), {})}
    return {**later, **own}


def known_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting that a record names and its key holds, flattened: `method.r` -> 12.

    Args:
        config: Configuration of a record; groups and settings may be absent, and what is absent is not
            known, unless EARLIER has it.
    """
    groups = {group: with_earlier(group, config.get(group)) or {} for group in ROW_GROUPS}
    found = {
        f"{group}.{name}": value
        for group, own in groups.items()
        for name, value in own.items()
        if name not in _NO_ROW[group]
    }
    if groups["trainer"]:
        found[RATE] = rate_in_force(groups["method"], groups["trainer"])
    return {
        name: value if type(value) in _WHOLE else normalised(value) for name, value in found.items()
    }


def row_settings(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a run's row: of what `known_settings` gives, what is not null."""
    return {name: value for name, value in known.items() if value is not None}


def rate_in_force(method: Mapping[str, Any], trainer: Mapping[str, Any]) -> Any:
    """Return the learning rate that `TrainerConfig.resolved_lr` gives, None where none is named."""
    rates = (method.get("lr"), trainer.get("lr"), method.get("micro_lr"), trainer.get("untuned_lr"))
    return next((rate for rate in rates if rate is not None), None)


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
