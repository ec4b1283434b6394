"""Notes: captions, and every doubt about a table's numbers as a sentence."""

import re
from collections.abc import Callable, Iterator, Sequence

from pedro_bench.reporting.layouts import Layout
from pedro_bench.reporting.report import FULL_SEEDS, Column, Entry, Line, Section, on_backbone
from pedro_bench.reporting.settings import CHANGED
from pedro_bench.reporting.stored import Run

MICRO_MARK = "micro results: embedded backbone or data"


def caption(suite: str, data: str, sections: Sequence[Section], layout: Layout | None) -> str:
    """Return what a table shows, marked as micro where any part of it is."""
    mark = f" ({MICRO_MARK})" if any(section.is_micro for section in sections) else ""
    backbones = ", ".join(section.backbone for section in sections)
    what = f"{layout.title} ({layout.paper}, Table {layout.table}). " if layout else ""
    what = what.replace("Table figure", "Figure")
    plural = "s" if len(sections) > 1 else ""
    return (
        f"{what}Suite {suite}, backbone{plural} {backbones}, data {data}{mark}: median over "
        f"{_over(layout)}."
    )


def _over(layout: Layout | None) -> str:
    return "repeats" if layout and layout.measures_device else "seeds on the test split"


def missing(sections: Sequence[Section]) -> tuple[str, ...]:
    """Return `row on task` for every cell without a score, with the metric where another has one."""
    return tuple(
        dict.fromkeys(
            f"{line.name} on {task}{on_backbone(section, sections)}"
            for section in sections
            for line in section.lines
            for task in absent_tasks(section.columns, line)
        )
    )


def absent_tasks(columns: Sequence[Column], line: Line) -> list[str]:
    """Return the tasks on which a row has no score; of several metrics those that it lacks."""
    scored = {
        column.task
        for column, entry in zip(columns, line.entries, strict=True)
        if entry.spread is not None
    }
    return list(
        dict.fromkeys(
            f"{column.task} ({column.metric})" if column.task in scored else column.task
            for column, entry in zip(columns, line.entries, strict=True)
            if entry.spread is None
        )
    )


def notes(sections: Sequence[Section], over: str) -> list[str]:
    """Return a sentence on every cell with runs that failed, are missing, left out or doubtful.

    Args:
        sections: The report's sections.
        over: What medians are over: `seeds` or `repeats`.
    """
    places = list(_places(sections))
    failed = {
        f"Failed: {place}, {over.rstrip('s')} {run.seed}: {run.error}": None
        for place, _, entry in places
        for run in entry.failed
    }
    told: dict[str, dict[str, None]] = {}  # heading -> places
    for heading, words in _DOUBTS:
        for place, metric, entry in places:
            if text := words(entry, metric):
                name = heading.format(over=over, metric=metric)
                told.setdefault(name, {})[f"{place} {text}"] = None
    doubts = [f"{heading}: {', '.join(own)}." for heading, own in told.items()]
    return [*failed, *doubts, *_made_before(sections)]


def _made_before(sections: Sequence[Section]) -> Iterator[str]:
    """Yield a sentence on the rows whose runs are from before a change of their method's default."""
    for kind, (setting, change) in CHANGED.items():
        rows: dict[str, None] = {}
        for section in sections:
            for line in section.lines:
                runs = [run for entry in line.entries for run in entry.finished]
                methods = [run.config.get("method") or {} for run in runs]
                if any(own.get("_target_") == kind and setting not in own for own in methods):
                    rows[f"{line.name}{on_backbone(section, sections)}"] = None
        if rows:
            yield f"{change}: {', '.join(rows)}."


def _begun(entry: Entry, _metric: str) -> str:
    return f"(seed {_seeds(entry.unfinished)})" if entry.unfinished else ""


def _overtaking(entry: Entry, _metric: str) -> str:
    """Name the runs by key and state: `(key 0123456789ab: seed 0, 1 failed, seed 2 unfinished)`."""
    keys: dict[str, dict[str, list[Run]]] = {}
    for run in entry.overtaking:
        state = "failed" if run.status == "failed" else "unfinished"
        keys.setdefault(run.key, {}).setdefault(state, []).append(run)
    told = [
        f"key {key}: " + ", ".join(f"seed {_seeds(runs)} {state}" for state, runs in states.items())
        for key, states in keys.items()
    ]
    return f"({'; '.join(told)})" if told else ""


def _superseded(entry: Entry, _metric: str) -> str:
    return f"({', '.join(entry.superseded)})" if entry.superseded else ""


def _count(number: int) -> str:
    return f"({number})" if number else ""


def _lacking(entry: Entry, metric: str) -> str:
    """Name the finished runs that have no score in the column's metric."""
    found = [run for run in entry.finished if metric not in run.scores]
    return f"(seed {_seeds(found)})" if found else ""


def _few(entry: Entry, metric: str) -> str:
    if entry.spread is None or entry.spread.seeds >= FULL_SEEDS:
        return ""
    with_metric = "" if entry.spread.seeds == len(entry.finished) else f" with {metric}"
    return f"has {entry.spread.seeds}{with_metric}"


def _dirty(entry: Entry, _metric: str) -> str:
    return f"({entry.dirty} of {len(entry.finished)} runs)" if entry.dirty else ""


def _uncertain(entry: Entry, _metric: str) -> str:
    number = sum(run.dirty is None for run in entry.finished)
    return f"({number} of {len(entry.finished)} runs)" if number else ""


def _shortened(entry: Entry, _metric: str) -> str:
    """Return what records say of shortened texts: `(12 of 800 test prompts)`."""
    notes = dict.fromkeys(note for run in entry.finished for note in run.notes)
    told = [
        ", ".join(part for part in found.groups() if part)
        for note in notes
        if (found := _CUT.match(note))
    ]
    return f"({'; '.join(told)})" if told else ""


def _lost(entry: Entry, _metric: str) -> str:
    return f"({entry.lost})" if entry.lost else ""


_CUT = re.compile(
    r"(\d+ of \d+ \w+ (?:prompts|answers)|\d+ contexts) (?:were shortened|were cut|lost tokens)"
    r"(?:.*?, and (\d+ lost their answer))?"
)
"""A record's note on texts that did not fit."""

_DOUBTS: tuple[tuple[str, Callable[[Entry, str], str]], ...] = (
    ("Begun and not finished", _begun),
    ("Newer runs than those shown have not finished", _overtaking),
    ("Superseded by newer runs, and not shown", _superseded),
    ("Evaluated again, the older evaluations not shown", lambda entry, _: _count(entry.replaced)),
    ("Evaluations of runs that are not shown, left out", lambda entry, _: _count(entry.outdated)),
    ("No {metric}", _lacking),
    (f"Fewer than {FULL_SEEDS} {{over}}", _few),
    ("Uncommitted code", _dirty),
    ("Not known whether committed", _uncertain),
    ("Shortened to fit", _shortened),
    ("Over {over} alone", _lost),
)
"""(what is said, what is said of a cell after its name), in the order of the sentences."""


def _seeds(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.seed) for run in runs)


def devices(sections: Sequence[Section]) -> tuple[str, ...]:
    """Return one sentence on where everything was measured, and whether in one run; none for nothing."""
    runs = [run for _, _, entry in _places(sections) for run in entry.finished]
    names = sorted({f"{run.device_name} ({run.device})" for run in runs})
    if not names:
        return ()
    is_one = len({(run.key, run.started, run.device_name) for run in runs}) == 1
    how = "one run for all methods" if is_one else "several runs, each compared with itself alone"
    return (f"Measured on {', '.join(names)}, in {how}.",)


def _places(sections: Sequence[Section]) -> Iterator[tuple[str, str, Entry]]:
    """Yield the name, metric and entry of every cell; those of one task share a name."""
    for section in sections:
        on = on_backbone(section, sections)
        for line in section.lines:
            for column, entry in zip(section.columns, line.entries, strict=True):
                yield f"{line.name} on {column.task}{on}", column.metric or "", entry
