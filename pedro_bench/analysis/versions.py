"""Versions: which of two runs of one cell is out of date, and whether they had the same inputs.

Everything that moves numbers has a version, a whole number in its class or YAML. A raised version makes
exactly its own runs out of date, whenever they were made. Runs of one row agree in their settings of method,
trainer and evaluation; in those of task, data and backbone, which change a key and name no row, they may
differ.
"""

from collections.abc import Container
from typing import Any, NamedTuple

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import normalised, with_defaults_before
from pedro_bench.analysis.run import Run

_TASK, _EVALUATION = "task", "evaluation"
"""Names of the versions that are settings; those of the other components are in a record's `versions`."""

_IN_NO_KEY = records.NOT_IN_KEY["task"]
"""Settings of task, data and backbone that change no key: printed names, and where rows come from."""


class VersionChange(NamedTuple):
    """The versions of one component in two runs.

    Attributes:
        before: In the older run.
        now: In the newer run, higher.
    """

    before: int
    now: int


def raised_versions(run: Run, newer: Run) -> dict[str, VersionChange]:
    """Return component -> the change of its version that makes a run out of date, else nothing.

    Versions do where one is higher in the newer run, none is lower, and data and backbone have the same
    settings. Those of a task or an evaluation may differ with its version.
    """
    before, now = _versions_of(run), _versions_of(newer)
    changed = {
        name: VersionChange(before[name], now[name])
        for name in before
        if before[name] != now.get(name, before[name])
    }
    has_risen = all(change.before < change.now for change in changed.values())
    is_older = changed and has_risen and inputs_of(run, changed) == inputs_of(newer, changed)
    return changed if is_older else {}


def _versions_of(run: Run) -> dict[str, int]:
    """Return the versions of what made a run's numbers, of an evaluation its own."""
    if run.evaluates is not None:
        settings = run.config["data"]["config"]
        found = {_EVALUATION: settings.get("version")}
    else:
        found = {**run.versions, _TASK: (run.config.get("task") or {}).get("version")}
    return {name: value for name, value in found.items() if type(value) is int}


def inputs_of(run: Run, raised: Container[str] = ()) -> dict[tuple[str, str], Any]:
    """Return the settings of task, data and backbone that change a key and name no row.

    Without those that a new version (among `raised`) of the task or of the evaluation may change.
    """
    may_differ = {"task": _TASK in raised, "data": _EVALUATION in raised, "backbone": False}
    groups = {
        group: with_defaults_before(group, run.config.get(group)) or {}
        for group, is_free in may_differ.items()
        if not is_free
    }
    return {
        (group, name): normalised(value)
        for group, settings in groups.items()
        for name, value in settings.items()
        if name not in _IN_NO_KEY and value is not None
    }
