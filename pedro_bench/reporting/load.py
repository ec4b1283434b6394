"""Load: the records of a suite, grouped by what was compared; nothing is merged silently.

Two finished records of one seed in one cell have different keys: either their settings differ (then
they are two rows, told apart by the settings), or only code or data moved (then the newer group of
seeds replaces the older, provided that it is newer as a whole; otherwise loading stops).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.reporting.evaluations import read_evaluations
from pedro_bench.reporting.stored import Run, no_collection, read_runs

ROW_GROUPS = ("method", "trainer", "evaluation")
"""Groups of the configuration whose settings tell rows apart."""

_NAMES = frozenset({"_target_", "name", "label"})


@dataclass(frozen=True)
class Panel:
    """What one table shows: the runs of one suite on one backbone and data source."""

    suite: str
    backbone: str
    data: str


@dataclass(frozen=True)
class Cell:
    """The runs of one row and one task, one finished run for each seed.

    Attributes:
        finished: Finished runs, in order of seeds.
        failed: Failed runs without a finished one of the same seed.
        superseded: Keys of older groups that `finished` replaces.
        unfinished: Runs that were begun and neither finished nor failed, likewise.
    """

    finished: tuple[Run, ...]
    failed: tuple[Run, ...]
    superseded: tuple[str, ...] = ()
    unfinished: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Row:
    """One method with one set of settings.

    Attributes:
        method: The method's name.
        label: Its printed name, in LaTeX.
        settings: Settings in which it differs from the method's other rows, such as `r=6`.
        cells: Task name -> runs.
    """

    method: str
    label: str
    settings: tuple[str, ...]
    cells: Mapping[str, Cell]


@no_collection()
def load(results_dir: str | Path, suites: Sequence[str] = ()) -> dict[Panel, list[Row]]:
    """Read the records of some suites (none given: of all), with their evaluations, and group them.

    Returns:
        Panel -> rows, both in order of their names.

    Raises:
        RecordError: If a record is damaged, or two groups of one cell cannot be told apart.
    """
    chosen: Iterable[str | None] = suites or (None,)
    runs = read_runs([path for one in chosen for path in records.find(results_dir, one)])
    runs += read_evaluations(results_dir, runs)
    panels: dict[Panel, list[Run]] = {}
    for run in runs:
        panels.setdefault(Panel(run.suite, run.backbone, run.data), []).append(run)
    ordered = sorted(panels, key=lambda panel: (panel.suite, panel.backbone, panel.data))
    return {panel: _rows(panels[panel]) for panel in ordered}


def _rows(runs: Sequence[Run]) -> list[Row]:
    by_method: dict[str, dict[str, list[Run]]] = {}
    texts: dict[tuple[str, str, str], str] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        place = (run.method, run.task, run.key)
        if place not in texts:  # one key is one row, whatever its seeds
            texts[place] = json.dumps(_settings(run), sort_keys=True)
        by_method.setdefault(run.method, {}).setdefault(texts[place], []).append(run)
    rows = []
    for method in sorted(by_method):
        settings = {text: json.loads(text) for text in by_method[method]}
        for text in sorted(settings, key=lambda text: _order(settings[text])):
            own = by_method[method][text]
            by_task: dict[str, list[Run]] = {}
            for run in own:
                by_task.setdefault(run.task, []).append(run)
            cells = {task: _cell(by_task[task]) for task in sorted(by_task)}
            label = str(own[0].config.get("method", {}).get("label", method))
            rows.append(Row(method, label, _differences(settings[text], settings.values()), cells))
    return rows


def _settings(run: Run) -> dict[str, Any]:
    """Return the flattened settings that tell a run's row: `method.r` -> 12 and so on."""
    return {
        f"{group}.{name}": value
        for group in ROW_GROUPS
        for name, value in dict(run.config.get(group) or {}).items()
        if name not in _NAMES
    }


def _differences(own: Mapping[str, Any], variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return `name=value` for every setting in which the variants of a method differ."""
    others = list(variants)
    names = sorted({name for one in others for name in one})
    differing = [name for name in names if any(one.get(name) != own.get(name) for one in others)]
    return tuple(
        f"{name.removeprefix('method.')}={json.dumps(own.get(name)).strip(chr(34))}"
        for name in differing
    )


def _order(settings: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Sort numbers as numbers: r=6 before r=12."""
    return [
        (name, value if isinstance(value, int | float) else 0.0, json.dumps(value))
        for name, value in sorted(settings.items())
    ]


def _cell(runs: Sequence[Run]) -> Cell:
    """Choose the runs of one cell: one key only, the newest group where that is beyond doubt.

    Raises:
        RecordError: If two groups overlap in time or differ in settings that no row shows.
    """
    finished: dict[str, list[Run]] = {}
    for run in runs:
        if run.status == "finished":
            finished.setdefault(run.key, []).append(run)
    groups = sorted(finished.values(), key=lambda group: min(run.started for run in group))
    for older, newer in pairwise(groups):
        latest, earliest = max(run.started for run in older), min(run.started for run in newer)
        if latest >= earliest or _inputs(older[0]) != _inputs(newer[0]):
            place = f"{older[0].method} on {older[0].task} in suite {older[0].suite!r}"
            raise RecordError(
                f"the runs of {place} must share one key, got {older[0].key} and {newer[0].key} "
                "that neither settings nor time tell apart: move one group to another suite or folder."
            )
    chosen = sorted(groups[-1], key=lambda run: run.seed) if groups else []
    seeds = {run.seed for run in chosen}
    others = sorted((r for r in runs if r.seed not in seeds), key=lambda r: (r.seed, r.key))
    return Cell(
        finished=tuple(chosen),
        failed=tuple(run for run in others if run.status == "failed"),
        superseded=tuple(group[0].key for group in groups[:-1]),
        unfinished=tuple(run for run in others if run.status == "running"),
    )


def _inputs(run: Run) -> Any:
    """Return the settings of task, data and backbone, which no row shows."""
    return {name: run.config.get(name) for name in ("task", "data", "backbone")}
