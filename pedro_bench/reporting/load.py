"""Load: the records of a suite, grouped by what was compared; nothing is merged silently.

Two finished records of one seed in one cell have different keys: either their settings differ (then
they are two rows, told apart by the settings), or only code or data moved (then the newer group of
seeds replaces the older, provided that it is newer as a whole; otherwise loading stops). Settings of the
trainer that differ between tasks and never within one, such as a rate for each task, make no rows. An
evaluation is shown where its run is; of several of one run with the same settings, the newest.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.reporting.evaluations import read_evaluations
from pedro_bench.reporting.settings import normalised, row_settings
from pedro_bench.reporting.stored import Run, no_collection, read_runs


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
        overtaking: Failed and unfinished runs that began after the finished one of their seed, which
            has another key.
        replaced: Number of finished ones that are not shown, since a newer one has their key and seed:
            evaluations that were made again by other code or on another device.
        outdated: Number of evaluations that are not shown, since their runs are not.
    """

    finished: tuple[Run, ...]
    failed: tuple[Run, ...]
    superseded: tuple[str, ...] = ()
    unfinished: tuple[Run, ...] = ()
    overtaking: tuple[Run, ...] = ()
    replaced: int = 0
    outdated: int = 0


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

    Args:
        results_dir: Root of records and evaluations.
        suites: Names of suites; one that is named twice is read once.

    Returns:
        Panel -> rows, both in order of their names.

    Raises:
        RecordError: If a record is damaged, or two groups of one cell cannot be told apart.
    """
    chosen: Iterable[str | None] = dict.fromkeys(suites) or (None,)
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
            texts[place] = _text(row_settings(run.settings))
        by_method.setdefault(run.method, {}).setdefault(texts[place], []).append(run)
    rows = []
    for method in sorted(by_method):
        groups = _without_settings_of_tasks(by_method[method])
        settings = {text: json.loads(text) for text in groups}
        for text in sorted(settings, key=lambda text: _order(settings[text])):
            own = groups[text]
            label = str(own[0].config.get("method", {}).get("label", method))
            shown = _differences(settings[text], settings.values())
            rows.append(Row(method, label, shown, _cells(own)))
    return rows


def _without_settings_of_tasks(groups: Mapping[str, Sequence[Run]]) -> Mapping[str, list[Run]]:
    """Join what differs in no more than settings of the trainer that follow from the task.

    Args:
        groups: Settings in JSON -> the runs of one method that have them.

    Returns:
        The same without the trainer's settings that differ between tasks and never within one.
    """
    if len(groups) == 1:
        return {text: list(runs) for text, runs in groups.items()}
    settings = {text: json.loads(text) for text in groups}
    values: dict[str, dict[str, set[str]]] = {}  # setting -> task -> values
    names = {name for own in settings.values() for name in own if name.startswith("trainer.")}
    for text, runs in groups.items():
        own = {name: _text(settings[text].get(name)) for name in names}
        for task in {run.task for run in runs if run.evaluated is None}:
            for name, value in own.items():
                values.setdefault(name, {}).setdefault(task, set()).add(value)
    of_tasks = {
        name
        for name, by_task in values.items()
        if all(len(found) == 1 for found in by_task.values())
        and len({value for found in by_task.values() for value in found}) > 1
    }
    joined: dict[str, list[Run]] = {}
    for text, runs in groups.items():
        kept = {name: value for name, value in settings[text].items() if name not in of_tasks}
        joined.setdefault(_text(kept), []).extend(runs)
    return joined


def _differences(own: Mapping[str, Any], variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return `name=value` for every setting in which the variants of a method differ."""
    others = list(variants)
    names = sorted({name for one in others for name in one}) if len(others) > 1 else ()
    shown = []
    for name in names:
        text = _text(own.get(name))
        if any(_text(one.get(name)) != text for one in others):
            shown.append(f"{name.removeprefix('method.')}={text.strip(chr(34))}")
    return tuple(shown)


def _text(value: Any) -> str:
    """Return what tells settings apart: `true` is not 1, though Python has them equal."""
    return json.dumps(value, sort_keys=True)


def _order(settings: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Sort numbers as numbers: r=6 before r=12."""
    return [
        (name, value if isinstance(value, int | float) else 0.0, json.dumps(value))
        for name, value in sorted(settings.items())
    ]


def _cells(runs: Iterable[Run]) -> dict[str, Cell]:
    """Return task -> cell of one row; evaluations only of runs that are shown themselves."""
    trained: dict[str, list[Run]] = {}
    evaluations: dict[str, list[Run]] = {}
    for run in runs:
        kind = trained if run.evaluated is None else evaluations
        kind.setdefault(run.task, []).append(run)
    cells = {task: _cell(own) for task, own in sorted(trained.items())}
    if not evaluations:
        return cells
    shown = {run.path.stem for cell in cells.values() for run in cell.finished}
    for task, own in evaluations.items():
        current = [run for run in own if run.evaluated in shown]
        cell = _cell([*trained.get(task, ()), *current])
        cells[task] = replace(cell, outdated=len(own) - len(current))
    return dict(sorted(cells.items()))


def _cell(runs: Sequence[Run]) -> Cell:
    """Choose the runs of one cell: one key only, the newest group where that is beyond doubt.

    Raises:
        RecordError: If two groups overlap in time or differ in settings that no row shows.
    """
    newest = _newest([run for run in runs if run.status == "finished"])
    finished: dict[str, list[Run]] = {}
    for run in newest.values():
        finished.setdefault(run.key, []).append(run)
    groups = sorted(finished.values(), key=lambda group: min(run.started for run in group))
    for older, newer in pairwise(groups):
        latest, earliest = max(run.started for run in older), min(run.started for run in newer)
        if latest >= earliest or _inputs(older[0]) != _inputs(newer[0]):
            place = f"{older[0].method} on {older[0].task} in suite {older[0].suite!r}"
            raise RecordError(
                f"the runs of {place} must share one key, got {older[0].key} and {newer[0].key} "
                "that neither settings nor time tell apart: move one group to another results_dir."
            )
    chosen = sorted(groups[-1], key=lambda run: run.seed) if groups else []
    begun = {run.seed: run.started for run in chosen}
    open_runs = sorted(
        (run for run in runs if run.status != "finished"), key=lambda run: (run.seed, run.key)
    )
    others = [run for run in open_runs if run.seed not in begun]
    return Cell(
        finished=tuple(chosen),
        failed=tuple(run for run in others if run.status == "failed"),
        superseded=tuple(group[0].key for group in groups[:-1]),
        unfinished=tuple(run for run in others if run.status == "running"),
        overtaking=tuple(
            run for run in open_runs if run.started > begun.get(run.seed, run.started)
        ),
        replaced=sum(run.status == "finished" for run in runs) - len(newest),
    )


def _newest(finished: Iterable[Run]) -> dict[tuple[str, int], Run]:
    """Return (key, seed) -> the run that began last, so that no seed counts twice."""
    found: dict[tuple[str, int], Run] = {}
    for run in finished:
        other = found.setdefault((run.key, run.seed), run)
        if other is not run and (run.started, run.path.name) > (other.started, other.path.name):
            found[run.key, run.seed] = run
    return found


def _inputs(run: Run) -> Any:
    """Return the settings of task, data and backbone, which no row shows."""
    return normalised({name: run.config.get(name) for name in ("task", "data", "backbone")})
