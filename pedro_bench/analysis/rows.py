"""Rows: which runs of a method share a row of a table, and the settings that name the row.

Records become rows in three steps, each for all runs of one method in a suite, on one backbone and source of
data:

1. Runs share a row where all settings agree that can move a number (`recorded_settings`), null or absent.
   Runs of one key on one task share it in any case, whatever their seeds.
2. Rows are joined that differ only in settings of the trainer that follow from the task, such as RED's rate
   for each task.
3. What is left in which the rows of the method differ names them: `r=6` and `r=12`. A method of one row has
   no settings to name.

Which runs of a row are shown is decided afterwards, cell by cell (`selection`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pedro_bench.analysis.run import Run


@dataclass
class _Row:
    """Runs of one method that share a row: `method.r` -> 12 and so on, without what is null."""

    settings: Mapping[str, Any]
    runs: list[Run] = field(default_factory=list)


def name_rows(runs: Sequence[Run]) -> None:
    """Write into each run the settings that name its row, and the row's number within its method.

    Numbers follow the settings, r=6 before r=12.
    """
    methods: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        methods.setdefault((run.suite, run.backbone, run.data, run.method), []).append(run)
    for own in methods.values():
        rows = _joined_over_tasks(_rows_by_settings(own))
        names = _names_in(rows)
        rows.sort(key=lambda row: _order(row.settings, names))
        for number, row in enumerate(rows):
            name = ", ".join(_differences(row, rows))
            for run in row.runs:
                run.settings, run.row = name, number


def row_settings(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a run's row: of what `known_settings` gives, what is not null."""
    return {name: value for name, value in known.items() if value is not None}


def _rows_by_settings(runs: Iterable[Run]) -> list[_Row]:
    """Return a row for each combination of settings, in order of the runs."""
    by_text: dict[bytes, _Row] = {}
    by_key: dict[tuple[str, str], _Row] = {}
    for run in runs:
        place = (run.task, run.key)
        if place not in by_key:  # one key is one row, whatever its seeds
            settings = row_settings(run.known)
            text = msgspec.json.encode(settings, order="sorted")
            by_key[place] = by_text.setdefault(text, _Row(settings))
        by_key[place].runs.append(run)
    return list(by_text.values())


def _joined_over_tasks(rows: list[_Row]) -> list[_Row]:
    """Join rows that differ only in settings of the trainer that follow from the task."""
    if len(rows) == 1:
        return rows
    of_tasks = _settings_of_tasks(rows)
    joined: dict[str, _Row] = {}
    for row in rows:
        kept = {name: value for name, value in row.settings.items() if name not in of_tasks}
        joined.setdefault(_text(kept), _Row(kept)).runs.extend(row.runs)
    return list(joined.values())


def _settings_of_tasks(rows: Sequence[_Row]) -> set[str]:
    """Return the settings of the trainer that have one value in each task, and not the same in all.

    An evaluation has the settings of its run, whose task is another, so evaluations do not count.
    """
    names = [name for name in _names_in(rows) if name.startswith("trainer.")]
    values: dict[str, dict[str, set[str]]] = {
        name: {} for name in names
    }  # setting -> task -> values
    for row in rows:
        for task in {run.task for run in row.runs if run.evaluates is None}:
            for name in names:
                text = _text(row.settings.get(name))
                values[name].setdefault(task, set()).add(text)
    return {
        name
        for name, by_task in values.items()
        if all(len(found) == 1 for found in by_task.values())
        and len(set().union(*by_task.values())) > 1
    }


def _differences(row: _Row, rows: Sequence[_Row]) -> list[str]:
    """Return `name=value` for every setting in which the rows of a method differ."""
    texts = {name: _text(row.settings.get(name)) for name in _names_in(rows)}
    return [
        f"{name.removeprefix('method.')}={text.strip(chr(34))}"
        for name, text in texts.items()
        if any(_text(other.settings.get(name)) != text for other in rows)
    ]


def _names_in(rows: Iterable[_Row]) -> list[str]:
    return sorted({name for row in rows for name in row.settings})


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
