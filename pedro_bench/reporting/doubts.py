"""Doubts: a sentence on each kind of run in a table that failed, is missing, left out or doubtful."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pedro_bench.analysis.cells import FULL_SEEDS, Cell
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection
from pedro_bench.analysis.table import Table
from pedro_bench.analysis.versions import VersionChange, raised_versions
from pedro_bench.reporting.captions import on_backbone
from pedro_bench.reporting.numbers import counted


def doubts(table: Table) -> list[str]:
    """Return a sentence on cells with runs that failed, are missing, left out or doubtful."""
    places = [
        (f"{line.name} on {cell.column.task}{on_backbone(section, table)}", cell)
        for section, line, cell in table.places
    ]
    failed = {
        f"Failed: {place}, {table.each} {run.seed}: {run.error}": None
        for place, cell in places
        for run in cell.runs.get(Selection.FAILED, ())
    }
    found: dict[str, dict[str, None]] = {}  # heading -> places
    for heading, words in _DOUBTS:
        for place, cell in places:
            if text := words(cell):
                name = heading.format(over=table.over, metric=cell.column.metric or "")
                found.setdefault(name, {})[f"{place} {text}"] = None
    return [*failed, *(f"{heading}: {', '.join(own)}." for heading, own in found.items())]


def _overtaking(cell: Cell) -> str:
    """Name the runs by key and state: `(key 0123456789ab: seed 0, 1 failed, seed 2 unfinished)`."""
    keys: dict[str, dict[str, list[Run]]] = {}
    for run in cell.runs.get(Selection.OVERTAKING, ()):
        state = "failed" if run.status == "failed" else "unfinished"
        keys.setdefault(run.key, {}).setdefault(state, []).append(run)
    return _listed(
        (
            f"key {key}: "
            + ", ".join(f"{_each(runs)} {_seeds(runs)} {state}" for state, runs in own.items())
            for key, own in keys.items()
        ),
        "; ",
    )


def _few(cell: Cell) -> str:
    if cell.spread is None or cell.spread.seeds >= FULL_SEEDS:
        return ""
    is_whole = cell.spread.seeds == len(cell.shown)
    return f"has {cell.spread.seeds}" + ("" if is_whole else f" with {cell.column.metric}")


def _superseded(cell: Cell) -> str:
    runs = [
        run for run in cell.runs.get(Selection.SUPERSEDED, ()) if not _raised_versions(cell, run)
    ]
    return _listed(run.key for run in sorted(runs, key=lambda run: run.started))


def _out_of_date(cell: Cell) -> str:
    """Return how many runs of a cell are of older versions, and of what: `(5: version 1 of task, now 2)`."""
    found = [_raised_versions(cell, run) for run in cell.runs.get(Selection.SUPERSEDED, ())]
    own = [
        f"version {before} of {name}, now {now}"
        for one in found
        for name, (before, now) in one.items()
    ]
    return f"({sum(map(bool, found))}: {', '.join(dict.fromkeys(own))})" if own else ""


def _raised_versions(cell: Cell, run: Run) -> dict[str, VersionChange]:
    return raised_versions(run, cell.shown[0]) if cell.shown else {}


def _count(cell: Cell, selection: Selection) -> str:
    return f"({len(cell.runs[selection])})" if cell.runs.get(selection) else ""


def _shortened(run: Run) -> Iterator[str]:
    """Yield what a record says of texts that did not fit: `12 of 800 test prompts, 4 lost their answer`.

    An evaluation's train and dev split are those of its run, whose own cell tells of them.
    """
    if run.evaluates is not None:
        if contexts := run.splits["test"].shortened:
            yield counted(contexts, "context")
        return
    for name, split in run.splits.items():
        if split.shortened:
            lost = f", {split.lost_answers} lost their answer" if split.lost_answers else ""
            yield f"{split.shortened} of {split.rows} {name} prompts{lost}"
        if split.cut_answers:
            yield f"{split.cut_answers} of {split.rows} {name} answers"


def _seeds(runs: Iterable[Run]) -> str:
    return ", ".join(str(run.seed) for run in runs)


def _of_seeds(runs: Sequence[Run]) -> str:
    return f"({_each(runs)} {_seeds(runs)})" if runs else ""


def _each(runs: Sequence[Run]) -> str:
    """Return what sets the runs of a cell apart."""
    return "repeat" if runs[0].is_measurement else "seed"


def _of_runs(cell: Cell, number: int) -> str:
    return f"({number} of {counted(len(cell.shown), 'run')})" if number else ""


def _listed(texts: Iterable[str], separator: str = ", ") -> str:
    joined = separator.join(dict.fromkeys(texts))
    return f"({joined})" if joined else ""


_DOUBTS: tuple[tuple[str, Callable[[Cell], str]], ...] = (
    ("Begun and not finished", lambda cell: _of_seeds(cell.runs.get(Selection.UNFINISHED, ()))),
    ("Newer runs than those shown have not finished", _overtaking),
    (
        "Made by an older version, and not shown (missing seeds are made anew by the grid's own command, and "
        "cli.plan with its arguments counts them)",
        _out_of_date,
    ),
    ("Superseded by newer runs, and not shown", _superseded),
    (
        "Evaluated again, the older evaluations not shown",
        lambda cell: _count(cell, Selection.REPLACED),
    ),
    (
        "Evaluations of runs that are not shown, left out",
        lambda cell: _count(cell, Selection.OUTDATED),
    ),
    (
        "No {metric}",
        lambda cell: _of_seeds([r for r in cell.shown if cell.column.metric not in r.scores]),
    ),
    (f"Fewer than {FULL_SEEDS} {{over}}", _few),
    ("Uncommitted code", lambda cell: _of_runs(cell, cell.dirty)),
    (
        "Not known whether committed",
        lambda cell: _of_runs(cell, sum(run.environment.dirty is None for run in cell.shown)),
    ),
    (
        "Shortened to fit",
        lambda cell: _listed((text for run in cell.shown for text in _shortened(run)), "; "),
    ),
    ("Over {over} alone", lambda cell: _listed([cell.reason] if cell.is_lost else [])),
)
"""(what is said, what is said of a cell after its name), in the order of the sentences."""
