"""Notes: what a reader of a table must know of its numbers, a sentence each."""

from collections.abc import Iterator, Mapping
from typing import Any

from pedro_bench.analysis.cells import FULL_SEEDS
from pedro_bench.analysis.disagreements import Sides, differing, settings_by_task
from pedro_bench.analysis.papers import SEEDS, is_small, layouts
from pedro_bench.analysis.recorded_settings import CHANGED_DEFAULTS, text_of, with_defaults_before
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.table import Section, Table
from pedro_bench.reporting.captions import on_backbone
from pedro_bench.reporting.doubts import doubts


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


def notes(table: Table) -> list[str]:
    """Return a sentence on every doubt about a table, then the notes of its layout."""
    sentences = (
        _lower_is_better,
        _without_records,
        doubts,
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
    for kind, changed in CHANGED_DEFAULTS.items():
        rows: dict[str, None] = {}
        before = with_defaults_before("method", {"_target_": kind})[changed.setting]
        for section in table.sections:
            for line in section.lines:
                methods = [
                    run.config.get("method") or {} for cell in line.cells for run in cell.shown
                ]
                if any(
                    own.get("_target_") == kind
                    and with_defaults_before("method", own)[changed.setting] == before
                    for own in methods
                ):
                    rows[f"{line.name}{on_backbone(section, table)}"] = None
        if rows:
            yield f"{changed.note}: {', '.join(rows)}."


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
        told.append(f"Runs that name no search of their learning rate: {', '.join(rest)}.")
    return told


def _search(tried: Mapping[str, Any]) -> str:
    """Return what a rate's search was: its trials and their length, range, seeds, tasks and day.

    Older searches do not say the length. With one seed or two trials nothing can be halved
    (`grid.tuning.rungs`). A rule written by hand may lack some of it; it is shown as it is.
    """
    try:
        lowest, highest = tried["lr"]
        seeds = ", ".join(map(str, tried["seeds"]))
        is_halved = tried.get("halving") and len(tried["seeds"]) > 1 and tried["trials"] > 2
        halved = f", halved from seed to seed: all with seed {tried['seeds'][0]}, the best two with every one"
        return (
            f"{tried['trials']} trials each{_length(tried)} from {lowest:g} to {highest:g}"
            f"{halved if is_halved else ''} "
            f"(seeds {seeds}; tasks {', '.join(tried['tasks'])}; {tried['date']})"
        )
    except (KeyError, TypeError, ValueError):
        return text_of(tried)


def _length(tried: Mapping[str, Any]) -> str:
    """Return the most steps of a search's trials, else their most passes; nothing of older searches."""
    for key, unit in (("max_steps", "steps"), ("num_epochs", "epochs")):
        if tried.get(key) is not None:
            return f" of up to {tried[key]:,} {unit}"
    return ""


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
