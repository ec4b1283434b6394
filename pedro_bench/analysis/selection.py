"""Selection: which runs of a table's cell are shown, and why the others are not.

A cell is what the runs of one row have on one task. Its finished runs are shown where they share a key, one
for each seed. Where they have several keys:

1. Runs that a newer version of a component has made out of date are left out (`versions`), whenever they were
   made.
2. Of the other keys the newest is shown, if all its runs began after those of the older ones and both had the
   same inputs.
3. Otherwise the cell is ambiguous: neither settings nor time can order its runs. All are shown, and the
   problem is reported, so that whoever makes a table can refuse it.

An evaluation of a run (`cli.instruct`) is a run of the row too, with its suite's name as the task. It may be
shown only where its run is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pedro_bench.analysis.run import Run
from pedro_bench.analysis.versions import inputs_of, raised_versions


class Selection(StrEnum):
    """Whether a run is shown in its cell, and if not, why."""

    SHOWN = "shown"
    """Finished, one for each seed, all of one key."""
    FAILED = "failed"
    """Failed, and no run of its seed is shown."""
    UNFINISHED = "unfinished"
    """Begun and neither finished nor failed, likewise."""
    OVERTAKING = "overtaking"
    """Failed or unfinished, and newer than the shown run of its seed."""
    OLDER = "older"
    """Failed or unfinished, and older than the shown run of its seed."""
    SUPERSEDED = "superseded"
    """Finished, of an older key than those shown, or of an older version of a component."""
    REPLACED = "replaced"
    """Finished, and another one of its key and seed is newer: an evaluation made again."""
    OUTDATED = "outdated"
    """An evaluation of a run that is not shown."""


@dataclass(frozen=True)
class Selected:
    """What was selected among some runs.

    Attributes:
        selections: The selection of each run, in order of the runs.
        problems: A sentence on each cell that is ambiguous; in those all newest finished runs are SHOWN.
    """

    selections: Sequence[Selection]
    problems: Sequence[str]


@dataclass
class _Candidate:
    """A run, and what is decided of it so far. One run may be given twice, and is then two candidates."""

    run: Run
    selection: Selection = Selection.OUTDATED


_Cell = list[_Candidate]


def select_shown(runs: Sequence[Run]) -> Selected:
    """Decide of each run whether tables show it.

    Args:
        runs: Runs whose rows have their names (`rows.name_rows`).
    """
    candidates = [_Candidate(run) for run in runs]
    rows: dict[tuple[str, ...], dict[str, _Cell]] = {}
    for candidate in candidates:
        run = candidate.run
        row = rows.setdefault((run.suite, run.backbone, run.data, run.method, run.settings), {})
        row.setdefault(run.task, []).append(candidate)
    problems = [problem for cells in rows.values() for problem in _select_in_row(cells)]
    return Selected([candidate.selection for candidate in candidates], problems)


def _select_in_row(cells: Mapping[str, _Cell]) -> list[str]:
    """Decide of the runs of a row (task -> cell), then of their evaluations; return the problems."""
    problems = []
    for cell in cells.values():
        problems += _select_in_cell([one for one in cell if one.run.evaluates is None])
    evaluated = [cell for cell in cells.values() if any(one.run.evaluates for one in cell)]
    if evaluated:
        every = (one for cell in cells.values() for one in cell)
        of_shown = {None} | {one.run.stem for one in every if one.selection is Selection.SHOWN}
        for cell in evaluated:
            problems += _select_in_cell([one for one in cell if one.run.evaluates in of_shown])
    return problems


def _select_in_cell(cell: _Cell) -> list[str]:
    """Decide of the runs of one cell; return the problem if it is ambiguous."""
    finished = [one for one in cell if one.run.status == "finished"]
    newest = _newest_of_each_seed(finished)
    keys = _without_outdated(_by_key(newest))
    clash = next((pair for pair in pairwise(keys) if _is_ambiguous(*pair)), None)
    newest_key = keys[-1] if keys else []
    shown = newest_key if clash is None else newest
    for one in finished:
        one.selection = Selection.REPLACED
    for one in newest:
        one.selection = Selection.SUPERSEDED
    for one in shown:
        one.selection = Selection.SHOWN
    _select_unfinished(cell, shown)
    return [] if clash is None else [_problem(clash[0][0].run, clash[1][0].run)]


def _newest_of_each_seed(finished: Iterable[_Candidate]) -> _Cell:
    """Return for each key and seed the run that began last, so that no seed counts twice."""
    newest: dict[tuple[str, int], _Candidate] = {}
    for one in finished:
        place = (one.run.key, one.run.seed)
        other = newest.setdefault(place, one)
        if (one.run.started, one.run.path) > (other.run.started, other.run.path):
            newest[place] = one
    return list(newest.values())


def _by_key(candidates: Iterable[_Candidate]) -> list[_Cell]:
    """Return the runs of each key, the key that began first in front."""
    keys: dict[str, _Cell] = {}
    for one in candidates:
        keys.setdefault(one.run.key, []).append(one)
    return sorted(keys.values(), key=lambda own: min(one.run.started for one in own))


def _without_outdated(keys: Sequence[_Cell]) -> list[_Cell]:
    """Return the keys that no newer version of a component has made out of date."""
    firsts = [own[0].run for own in keys]
    return [
        own
        for own, first in zip(keys, firsts, strict=True)
        if not any(raised_versions(first, other) for other in firsts)
    ]


def _is_ambiguous(older: _Cell, newer: _Cell) -> bool:
    """Whether the runs of two keys overlap in time, or differ in settings that no row names."""
    latest = max(one.run.started for one in older)
    earliest = min(one.run.started for one in newer)
    return latest >= earliest or inputs_of(older[0].run) != inputs_of(newer[0].run)


def _problem(older: Run, newer: Run) -> str:
    place = f"{older.method} on {older.task} in suite {older.suite!r}"
    return (
        f"the runs of {place} must share one key, got {older.key} and {newer.key}, which neither "
        "settings nor time can order: move one group to another results_dir."
    )


def _select_unfinished(cell: _Cell, shown: _Cell) -> None:
    """Decide of the runs that failed or did not finish, by whether a run of their seed is shown."""
    started_of_seed = {one.run.seed: one.run.started for one in shown}
    for one in cell:
        run = one.run
        if run.status == "finished":
            continue
        if run.seed in started_of_seed:
            is_newer = run.started > started_of_seed[run.seed]
            one.selection = Selection.OVERTAKING if is_newer else Selection.OLDER
        else:
            is_failed = run.status == "failed"
            one.selection = Selection.FAILED if is_failed else Selection.UNFINISHED
