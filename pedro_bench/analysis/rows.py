"""Rows of a table: which runs are seeds of one result, and the settings that separate rows.

Two runs share a row where all settings agree that can move a number. What a run's key leaves out makes no
row: names and labels, portion sizes of scoring, how often a checkpoint is written. Of several configured
learning rates the one in force counts. `1` and `1.0` are one value, and so are null and an absent setting.

A record that is older than a setting lacks it. The setting's declaration (`checks.later`) or EARLIER says
what was in force then, so that old and new records of one protocol share a row; a test checks it for every
setting that a committed record lacks.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import msgspec

from pedro_bench import records
from pedro_bench.analysis.run import Run
from pedro_bench.checks import NEUTRAL
from pedro_bench.evaluation.config import LikelihoodConfig
from pedro_bench.protocols.task import Task
from pedro_bench.training.config import TrainerConfig

Groups = dict[str, list[Run]]
"""Runs by what they share."""

ROW_GROUPS = ("method", "trainer", "evaluation")
"""Groups of the configuration whose settings separate rows."""

RATE = "trainer.lr"
"""Name of the learning rate in force, whichever setting it follows from."""

NOT_IN_KEY: Mapping[str, frozenset[str]] = {
    "method": records.NOT_IN_KEY["method"],
    "trainer": TrainerConfig.moves_no_number - {"lr"},
    "evaluation": records.NOT_IN_KEY["evaluation"],
}
"""Group -> settings that make no row, as they are no part of a run's key."""


def _later(kind: type) -> dict[str, Any]:
    """Return the settings of a class that came after its first records, with what was in force before."""
    return {one.name: one.metadata[NEUTRAL] for one in fields(kind) if NEUTRAL in one.metadata}


EARLIER: Mapping[str, Mapping[str, Any]] = {
    # the first two stand in every key, so they cannot be declared `later`
    "trainer": {"group_by_length": True, "micro_batch_tokens": None, **_later(TrainerConfig)},
    "evaluation": _later(LikelihoodConfig),  # what all evaluations share
    "task": _later(Task),
}
"""Group -> settings of all its classes that came after the first records -> what was in force before them.
Those of one class follow from its declaration (`_of_class`)."""

CHANGED: Mapping[str, tuple[str, str]] = {
    "pedro_bench.methods.ssp.Ssp": (
        "alpha",
        "Made before SSP's LoRA modules were scaled by 16 as in the authors' code, and not by 1",
    ),
}
"""Class of a method -> the setting that records from before a change of its default lack, and the change."""

_NO_ROW = {
    group: left_out | {"_target_", "name", "label", "lr"} for group, left_out in NOT_IN_KEY.items()
}
"""The same with all names, and the rates that RATE stands for."""

_NO_INPUT = records.NOT_IN_KEY["task"]
"""Settings of task, data and backbone that change no key: printed names, and where rows come from."""


_TASK, _EVALUATION = "task", "evaluation"
"""Names of the versions that are settings; those of the other components are in a record's `versions`."""

_WHOLE = frozenset({str, int, bool, type(None)})
"""Types of values that are in one spelling already."""


@lru_cache(maxsize=256)
def _of_class(target: str) -> Mapping[str, Any]:
    """Return what a class of the package declares `later`; nothing of one that is gone or another's.

    No record makes this process import a module that is not the package's.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("pedro_bench."):
        return {}
    try:
        return _later(getattr(import_module(module), name))
    except (ImportError, AttributeError, TypeError):
        return {}


def with_earlier(group: str, own: Any) -> Any:
    """Return a group's settings; what is older than a setting has what was in force then."""
    if not own:
        return own
    return {**EARLIER.get(group, {}), **_of_class(str(own.get("_target_"))), **own}


def known_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting that a record's configuration names and its key holds: `method.r` -> 12.

    What is absent there is not known, unless it is known what was in force before it (`with_earlier`).
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


SHOWN, FAILED, UNFINISHED = "shown", "failed", "unfinished"
OVERTAKING, SUPERSEDED, REPLACED = "overtaking", "superseded", "replaced"
OUTDATED, OLDER = "outdated", "older"
"""Role of a run in its cell:

SHOWN        finished, one for each seed, all of one key
FAILED       failed, and no run of its seed is shown
UNFINISHED   begun and neither finished nor failed, likewise
OVERTAKING   failed or unfinished, and newer than the shown run of its seed
OLDER        failed or unfinished, and older than it
SUPERSEDED   finished, of an older key than those shown, or of an older version of a component
REPLACED     finished, and another one of its key and seed is newer: an evaluation made again
OUTDATED     an evaluation of a run that is not shown
"""


def name_rows(runs: Sequence[Run]) -> None:
    """Write into each run the settings that name its row, and the row's number within its method.

    A method of one row has no settings to name; numbers follow the settings, r=6 before r=12.
    """
    methods: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        methods.setdefault((run.suite, run.backbone, run.data, run.method), []).append(run)
    for own in methods.values():
        groups = _without_settings_of_tasks(_by_settings(own))
        settings = {text: json.loads(text) for text in groups}
        names = sorted({name for one in settings.values() for name in one})
        ordered = sorted(settings, key=lambda text: _order(settings[text], names))
        for row, text in enumerate(ordered):
            name = ", ".join(_differences(settings[text], list(settings.values())))
            for run in groups[text]:
                run.settings, run.row = name, row


def _by_settings(runs: Sequence[Run]) -> Groups:
    """Return settings in JSON -> the runs that have them."""
    texts: dict[tuple[str, str], str] = {}
    groups: Groups = {}
    for run in runs:
        place = (run.task, run.key)
        if place not in texts:  # one key is one row, whatever its seeds
            known = msgspec.json.encode(row_settings(run.known), order="sorted")
            texts[place] = known.decode()
        groups.setdefault(texts[place], []).append(run)
    return groups


def _without_settings_of_tasks(groups: Groups) -> Groups:
    """Join groups that differ only in settings of the trainer that follow from the task."""
    if len(groups) == 1:
        return groups
    settings = {text: json.loads(text) for text in groups}
    values: dict[str, dict[str, set[str]]] = {}  # setting -> task -> values
    names = {name for own in settings.values() for name in own if name.startswith("trainer.")}
    for text, runs in groups.items():
        for task in {run.task for run in runs if run.evaluates is None}:
            for name in names:
                value = _text(settings[text].get(name))
                values.setdefault(name, {}).setdefault(task, set()).add(value)
    of_tasks = {
        name
        for name, by_task in values.items()
        if all(len(found) == 1 for found in by_task.values())
        and len({value for found in by_task.values() for value in found}) > 1
    }
    joined: Groups = {}
    for text, runs in groups.items():
        kept = {name: value for name, value in settings[text].items() if name not in of_tasks}
        joined.setdefault(_text(kept), []).extend(runs)
    return joined


def _differences(own: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return `name=value` for every setting in which the variants of a method differ."""
    names = sorted({name for one in variants for name in one}) if len(variants) > 1 else ()
    texts = {name: _text(own.get(name)) for name in names}
    return [
        f"{name.removeprefix('method.')}={text.strip(chr(34))}"
        for name, text in texts.items()
        if any(_text(one.get(name)) != text for one in variants)
    ]


def _text(value: Any) -> str:
    """Return what two settings are compared by: `true` is not 1, though Python has them equal."""
    return json.dumps(value, sort_keys=True)


def _order(settings: Mapping[str, Any], names: Sequence[str]) -> list[tuple[bool, float, str]]:
    """Return a key that sorts by these settings in turn: null first, and r=6 before r=12."""
    values = [settings.get(name) for name in names]
    return [
        (one is not None, one if isinstance(one, int | float) else 0.0, json.dumps(one))
        for one in values
    ]


def roles(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Return the role of each run in its cell, and a sentence on each cell that is ambiguous.

    In an ambiguous cell all finished runs are SHOWN.
    """
    rows: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for number, run in enumerate(runs):
        place = (run.suite, run.backbone, run.data, run.method, run.settings)
        rows.setdefault(place, {}).setdefault(run.task, []).append(number)
    found = [OUTDATED] * len(runs)
    problems: list[str] = []
    for tasks in rows.values():
        evaluated = [t for t, own in tasks.items() if any(runs[n].evaluates for n in own)]
        for numbers in tasks.values():
            trained = [n for n in numbers if runs[n].evaluates is None] if evaluated else numbers
            _assign(trained, runs, found, problems)
        if evaluated:
            of_row = [number for numbers in tasks.values() for number in numbers]
            stems = {runs[number].stem for number in of_row if found[number] == SHOWN}
            for task in evaluated:
                current = [n for n in tasks[task] if runs[n].evaluates in (None, *stems)]
                _assign(current, runs, found, problems)
    return found, problems


def _assign(
    numbers: Sequence[int], runs: Sequence[Run], found: list[str], problems: list[str]
) -> None:
    """Write the roles of the runs of one cell into `found`: one key is shown, the newest."""
    finished = [number for number in numbers if runs[number].status == "finished"]
    newest = _newest(finished, runs)
    keys: dict[str, list[int]] = {}
    for number in newest.values():
        keys.setdefault(runs[number].key, []).append(number)
    groups = sorted(keys.values(), key=lambda group: min(runs[n].started for n in group))
    firsts = [runs[group[0]] for group in groups]
    groups = [  # those that no newer version has made out of date
        group
        for group, first in zip(groups, firsts, strict=True)
        if not any(older_versions(first, other) for other in firsts)
    ]
    clash = next((pair for pair in pairwise(groups) if _is_ambiguous(*pair, runs)), None)
    if clash is not None:
        problems.append(_problem(runs[clash[0][0]], runs[clash[1][0]]))
    for number in finished:
        found[number] = REPLACED
    for number in newest.values():
        found[number] = SUPERSEDED
    shown = list(newest.values()) if clash else groups[-1] if groups else []
    for number in shown:
        found[number] = SHOWN
    if len(finished) == len(numbers):
        return
    begun = {runs[number].seed: runs[number].started for number in shown}
    for number in numbers:
        run = runs[number]
        if run.status != "finished" and run.seed in begun:
            found[number] = OVERTAKING if run.started > begun[run.seed] else OLDER
        elif run.status != "finished":
            found[number] = FAILED if run.status == "failed" else UNFINISHED


def _newest(finished: Iterable[int], runs: Sequence[Run]) -> dict[tuple[str, int], int]:
    """Return (key, seed) -> the run that began last, so that no seed counts twice."""
    found: dict[tuple[str, int], int] = {}
    for number in finished:
        run = runs[number]
        other = found.setdefault((run.key, run.seed), number)
        if (run.started, run.path) > (runs[other].started, runs[other].path):
            found[run.key, run.seed] = number
    return found


def older_versions(run: Run, other: Run) -> dict[str, tuple[int, int]]:
    """Return component -> versions of a run and of another whose versions make it out of date, else nothing.

    They do where one is higher, none is lower, and data and backbone have the same settings. Those of a task
    or an evaluation may differ with its version.
    """
    one, than = _versions(run), _versions(other)
    risen = {
        name: (one[name], than[name]) for name in one if one[name] != than.get(name, one[name])
    }
    is_older = all(before < after for before, after in risen.values())
    return risen if risen and is_older and _inputs(run, risen) == _inputs(other, risen) else {}


def _versions(run: Run) -> dict[str, int]:
    """Return the versions of what made a run's numbers, of an evaluation its own."""
    if run.evaluates is not None:
        settings = run.config["data"]["config"]
        found = {_EVALUATION: settings.get("version")}
    else:
        found = {**run.versions, _TASK: (run.config.get("task") or {}).get("version")}
    return {name: value for name, value in found.items() if type(value) is int}


def _is_ambiguous(older: Sequence[int], newer: Sequence[int], runs: Sequence[Run]) -> bool:
    """Whether two groups overlap in time, or differ in settings that no row names."""
    latest = max(runs[number].started for number in older)
    earliest = min(runs[number].started for number in newer)
    return latest >= earliest or _inputs(runs[older[0]]) != _inputs(runs[newer[0]])


def _inputs(run: Run, risen: Container[str] = ()) -> Any:
    """Return the settings of task, data and backbone that change a key and name no row.

    Without those that a new version (among `risen`) of the task or of the evaluation may change.
    """
    free = {"task": _TASK in risen, "data": _EVALUATION in risen, "backbone": False}
    groups = {
        name: with_earlier(name, run.config.get(name))
        for name, is_free in free.items()
        if not is_free
    }
    return {
        (name, setting): normalised(value)
        for name, own in groups.items()
        for setting, value in (own.items() if isinstance(own, Mapping) else [("", own)])
        if setting not in _NO_INPUT and value is not None
    }


def _problem(older: Run, newer: Run) -> str:
    place = f"{older.method} on {older.task} in suite {older.suite!r}"
    return (
        f"the runs of {place} must share one key, got {older.key} and {newer.key}, which neither "
        "settings nor time can order: move one group to another results_dir."
    )
