"""Notes: captions, and every doubt about a table's numbers as a sentence."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pedro_bench.analysis.cells import FULL_SEEDS, Cell
from pedro_bench.analysis.comparability import Sides, differing, settings_by_task, text_of
from pedro_bench.analysis.papers import SEEDS, is_small, layouts
from pedro_bench.analysis.rows import (
    CHANGED,
    EARLIER,
    FAILED,
    OUTDATED,
    OVERTAKING,
    REPLACED,
    SUPERSEDED,
    UNFINISHED,
    older_versions,
)
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.table import Line, Section, Table
from pedro_bench.reporting.numbers import counted, plural

MICRO_MARK = "micro results: embedded backbone or data"


def caption(table: Table) -> str:
    """Return what a table shows, marked as micro where any part of it is."""
    layout = table.layout
    mark = f" ({MICRO_MARK})" if table.is_micro else ""
    backbones = ", ".join(section.backbone for section in table.sections)
    what = f"{layout.title} ({layout.paper}, Table {layout.table}). " if layout else ""
    what = what.replace("Table figure", "Figure")
    noun = plural("backbone", len(table.sections))
    over = "seeds on the test split" if table.over == SEEDS else table.over
    return (
        f"{what}Suite {table.suite}, {noun} {backbones}, data {table.data}{mark}: median over "
        f"{over}."
    )


def on_backbone(section: Section, table: Table) -> str:
    """Return ` (backbone)`, to follow a row's name where a table has several sections, else nothing."""
    return f" ({section.backbone})" if len(table.sections) > 1 else ""


def missing(table: Table) -> list[str]:
    """Return `row on task` for every cell without a score, with the metric where another has one.

    Rows and columns are the paper's, or those that have records: what a grid would have made besides, and has
    not begun, no record tells.
    """
    return [
        f"{line.name} on {task}{on_backbone(section, table)}"
        for section in table.sections
        for line in section.lines
        for task in absent_tasks(line)
    ]


def missing_of(table: Table) -> str:
    """Return what `missing` looks through, to follow `Missing`."""
    if table.layout is None:
        return "of the methods and tasks that have records"
    if is_small(table.suite):
        return "of the paper's methods on the tasks that have records"
    return "of the paper's methods and tasks"


def _lower_is_better(table: Table) -> Iterator[str]:
    """Yield the columns whose least score is the best."""
    if lower := [column.heading for column in table.columns if column.sign < 0]:
        yield f"Lower is better: {', '.join(lower)}."


def _without_records(table: Table) -> Iterator[str]:
    """Yield the tasks of a paper's table that have no column, as no record has them."""
    if table.layout is not None and is_small(table.suite):
        shown = {column.task for column in table.columns}
        every = dict.fromkeys(task for task, _ in layouts()[table.layout.name].columns)
        if absent := [task for task in every if task not in shown]:
            what = "Tasks of the paper's table without a record, and so without a column"
            yield f"{what}: {', '.join(absent)}."


def absent_tasks(line: Line) -> list[str]:
    """Return the tasks on which a row has no score; of several metrics those that it lacks."""
    cells = [cell for cell in line.cells if cell.is_planned]
    scored = {cell.column.task for cell in cells if cell.spread is not None}
    absent = [cell.column for cell in cells if cell.spread is None]
    return list(
        dict.fromkeys(
            f"{one.task} ({one.metric})" if one.task in scored else one.task for one in absent
        )
    )


def notes(table: Table) -> list[str]:
    """Return a sentence on every doubt about a table, then the notes of its layout."""
    sentences = (
        _lower_is_better,
        _without_records,
        _doubts,
        _short,
        _made_before,
        _differing,
        _by_task,
        _tuning,
    )
    found = [sentence for each in sentences for sentence in each(table)]
    where = _devices(table) if table.measures_device else []
    if table.layout is None:
        return [*found, *where]
    return [*found, *_departures(table), *where, *table.layout.notes]


def _doubts(table: Table) -> list[str]:
    """Return a sentence on cells with runs that failed, are missing, left out or doubtful."""
    places = [
        (f"{line.name} on {cell.column.task}{on_backbone(section, table)}", cell)
        for section, line, cell in table.places
    ]
    failed = {
        f"Failed: {place}, {table.each} {run.seed}: {run.error}": None
        for place, cell in places
        for run in cell.runs.get(FAILED, ())
    }
    found: dict[str, dict[str, None]] = {}  # heading -> places
    for heading, words in _DOUBTS:
        for place, cell in places:
            if text := words(cell):
                name = heading.format(over=table.over, metric=cell.column.metric or "")
                found.setdefault(name, {})[f"{place} {text}"] = None
    return [*failed, *(f"{heading}: {', '.join(own)}." for heading, own in found.items())]


def _short(table: Table) -> Iterator[str]:
    """Yield which cells are not ranked, as others have more seeds, and which columns have no best."""
    short: list[str] = []
    without_best: dict[str, None] = {}
    for section in table.sections:
        on = on_backbone(section, table)
        for number, column in enumerate(table.columns):
            cells = [(line.name, line.cells[number]) for line in section.lines]
            own = [
                f"{name} on {column.task}{on} ({len(cell.values)} of {cell.short_of})"
                for name, cell in cells
                if cell.short_of
            ]
            short += own
            if own and not any(cell.place for _, cell in cells):
                without_best[column.task + on] = None
    if short:
        yield (
            f"Fewer {table.over} than other cells of the column, so neither marked nor ranked: "
            f"{', '.join(dict.fromkeys(short))}."
        )
    if without_best:
        yield f"One cell alone has the most {table.over}, so no best is marked: {', '.join(without_best)}."


def _made_before(table: Table) -> Iterator[str]:
    """Yield a sentence on the rows whose runs are from before a change of their method's default."""
    for kind, (setting, change) in CHANGED.items():
        rows: dict[str, None] = {}
        for section in table.sections:
            for line in section.lines:
                methods = [
                    run.config.get("method") or {} for cell in line.cells for run in cell.shown
                ]
                before = EARLIER[kind][setting]
                if any(
                    own.get("_target_") == kind and own.get(setting, before) == before
                    for own in methods
                ):
                    rows[f"{line.name}{on_backbone(section, table)}"] = None
        if rows:
            yield f"{change}: {', '.join(rows)}."


def _differing(table: Table) -> list[str]:
    """Return a sentence on everything in which the runs of a column should agree and do not."""
    found: dict[str, dict[str, list[str]]] = {}  # what differs -> how -> columns
    for section in table.sections:
        on = on_backbone(section, table)
        for number, column in enumerate(table.columns):
            cells = {line.name: line.cells[number].shown for line in section.lines}
            for what, sides in differing(cells, FULL_SEEDS).items():
                name = table.over if what == SEEDS else what
                found.setdefault(name, {}).setdefault(_sides(sides), []).append(column.task + on)
    return [
        f"Different {what} in one column: "
        + ", ".join(f"{', '.join(dict.fromkeys(tasks))} ({how})" for how, tasks in columns.items())
        + "."
        for what, columns in found.items()
    ]


def _by_task(table: Table) -> list[str]:
    """Return a sentence on each setting of the trainer that some row has by task, with its values."""
    found: dict[str, list[str]] = {}
    for section in table.sections:
        for line in section.lines:
            cells = {cell.column.task: cell.shown for cell in line.cells}
            for name, sides in settings_by_task(cells).items():
                how = f"{line.name}{on_backbone(section, table)} ({_sides(sides)})"
                found.setdefault(name, []).append(how)
    return [f"{name} by task: {', '.join(lines)}." for name, lines in sorted(found.items())]


def _tuning(table: Table) -> list[str]:
    """Return a sentence on each way in which learning rates were found, with the rows that it holds for."""
    found: dict[str, dict[str, None]] = {}
    rest: dict[str, None] = {}
    for section, line, cell in table.places:
        for run in cell.shown:
            trainer = run.config.get("trainer") or {}
            how = _search(trainer["tried"]) if trainer.get("tried") else ""
            own = found.setdefault(how, {}) if how else rest
            own[f"{line.name}{on_backbone(section, table)}"] = None
    told = [
        f"Learning rates chosen on dev data, {how}: {', '.join(rows)}."
        for how, rows in found.items()
    ]
    if told and rest:
        told.append(f"Learning rates not tuned: {', '.join(rest)}.")
    return told


def _search(tried: Mapping[str, Any]) -> str:
    """Return what a rate's search was: its trials, range, seeds, tasks and day.

    With one seed or two trials nothing can be halved (`grid.tuning.rungs`). A rule written by hand
    may lack some of it; it is shown as it is.
    """
    try:
        lowest, highest = tried["lr"]
        seeds = ", ".join(map(str, tried["seeds"]))
        is_halved = tried.get("halving") and len(tried["seeds"]) > 1 and tried["trials"] > 2
        halved = f", halved from seed to seed: all with seed {tried['seeds'][0]}, the best two with every one"
        return (
            f"{tried['trials']} trials each from {lowest:g} to {highest:g}{halved if is_halved else ''} "
            f"(seeds {seeds}; tasks "
            f"{', '.join(tried['tasks'])}; {tried['date']})"
        )
    except (KeyError, TypeError, ValueError):
        return text_of(tried)


def _sides(sides: Sides) -> str:
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in sides.items())


def _departures(table: Table) -> list[str]:
    """Return a sentence on the cells whose published number is shown without a difference."""
    found: dict[str, list[str]] = {}
    for section, line, cell in table.places:
        if is_of_paper(section, table) and cell.published and cell.departures:
            place = f"{line.name} on {cell.column.task}{on_backbone(section, table)}"
            found.setdefault(", ".join(cell.departures), []).append(place)
    if not found:
        return []
    cells = [f"{', '.join(dict.fromkeys(places))} ({how})" for how, places in found.items()]
    return [f"Not by the paper's protocol, so no difference is taken: {'; '.join(cells)}."]


def is_of_paper(section: Section, table: Table) -> bool:
    """Whether a section has a backbone of the paper's table, and no micro data or measurement of a device."""
    is_there = table.layout is not None and section.backbone in table.layout.backbones
    return is_there and not section.is_micro and not table.measures_device


def _devices(table: Table) -> list[str]:
    """Return one sentence on where everything was measured, and whether in one run."""
    runs = [run for _, _, cell in table.places for run in cell.shown]
    names = sorted({device_of(run) for run in runs})
    if not names:
        return []
    is_one = len({(run.key, run.started, run.environment.device_name) for run in runs}) == 1
    how = "one run for all methods" if is_one else "several runs, each compared with itself alone"
    return [f"Measured on {', '.join(names)}, in {how}."]


def device_of(run: Run) -> str:
    """Return where a run was made, such as `x86_64 (cpu)`."""
    return f"{run.environment.device_name} ({run.environment.device})"


def _shortened(run: Run) -> Iterator[str]:
    """Yield what a record says of texts that did not fit: `12 of 800 test prompts, 4 lost their answer`."""
    for name, split in run.splits.items():
        if split.shortened and run.evaluates is not None:
            yield counted(split.shortened, "context")
        elif split.shortened:
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


def _overtaking(cell: Cell) -> str:
    """Name the runs by key and state: `(key 0123456789ab: seed 0, 1 failed, seed 2 unfinished)`."""
    keys: dict[str, dict[str, list[Run]]] = {}
    for run in cell.runs.get(OVERTAKING, ()):
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
    runs = [run for run in cell.runs.get(SUPERSEDED, ()) if not _older_versions(cell, run)]
    return _listed(run.key for run in sorted(runs, key=lambda run: run.started))


def _out_of_date(cell: Cell) -> str:
    """Return how many runs of a cell are of older versions, and of what: `(5: version 1 of task, now 2)`."""
    found = [_older_versions(cell, run) for run in cell.runs.get(SUPERSEDED, ())]
    own = [
        f"version {before} of {name}, now {now}"
        for one in found
        for name, (before, now) in one.items()
    ]
    return f"({sum(map(bool, found))}: {', '.join(dict.fromkeys(own))})" if own else ""


def _older_versions(cell: Cell, run: Run) -> dict[str, tuple[int, int]]:
    return older_versions(run, cell.shown[0]) if cell.shown else {}


def _count(cell: Cell, role: str) -> str:
    return f"({len(cell.runs[role])})" if cell.runs.get(role) else ""


_DOUBTS: tuple[tuple[str, Callable[[Cell], str]], ...] = (
    ("Begun and not finished", lambda cell: _of_seeds(cell.runs.get(UNFINISHED, ()))),
    ("Newer runs than those shown have not finished", _overtaking),
    (
        "Made by an older version, and not shown (missing seeds are made anew by the grid's own command, and "
        "cli.plan with its arguments counts them)",
        _out_of_date,
    ),
    ("Superseded by newer runs, and not shown", _superseded),
    ("Evaluated again, the older evaluations not shown", lambda cell: _count(cell, REPLACED)),
    ("Evaluations of runs that are not shown, left out", lambda cell: _count(cell, OUTDATED)),
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
