"""Notes: captions, and every doubt about a table's numbers as a sentence."""

from collections.abc import Callable, Iterator, Sequence

from pedro_bench.reporting.layouts import Layout
from pedro_bench.reporting.report import FULL_SEEDS, Column, Entry, Line, Section
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
    """Return `row on task` for every cell without a finished run."""
    return tuple(place for place, entry in _places(sections) if entry.spread is None)


def notes(sections: Sequence[Section], over: str) -> list[str]:
    """Return a sentence on every cell with runs that failed, are missing, left out or doubtful.

    Args:
        sections: The report's sections.
        over: What medians are over: `seeds` or `repeats`.
    """
    places = list(_places(sections))
    found = [
        f"Failed: {place}, {over.rstrip('s')} {run.seed}: {run.error}"
        for place, entry in places
        for run in entry.failed
    ]
    for heading, words in _DOUBTS:
        told = {f"{place} {text}": None for place, entry in places if (text := words(entry))}
        if told:
            found.append(f"{heading.format(over=over)}: {', '.join(told)}.")
    return found


def _begun(entry: Entry) -> str:
    return f"(seed {_seeds(entry.unfinished)})" if entry.unfinished else ""


def _overtaking(entry: Entry) -> str:
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


def _superseded(entry: Entry) -> str:
    return f"({', '.join(entry.superseded)})" if entry.superseded else ""


def _count(number: int) -> str:
    return f"({number})" if number else ""


def _few(entry: Entry) -> str:
    return f"has {len(entry.finished)}" if entry.status == "partial" else ""


def _dirty(entry: Entry) -> str:
    return f"({entry.dirty} of {len(entry.finished)} runs)" if entry.dirty else ""


def _lost(entry: Entry) -> str:
    return f"({entry.lost})" if entry.lost else ""


_DOUBTS: tuple[tuple[str, Callable[[Entry], str]], ...] = (
    ("Begun and not finished", _begun),
    ("Newer runs than those shown have not finished", _overtaking),
    ("Superseded by newer runs, and not shown", _superseded),
    ("Evaluated again, the older evaluations not shown", lambda entry: _count(entry.replaced)),
    ("Evaluations of runs that are not shown, left out", lambda entry: _count(entry.outdated)),
    (f"Fewer than {FULL_SEEDS} {{over}}", _few),
    ("Uncommitted code", _dirty),
    ("Over {over} alone", _lost),
)
"""(what is said, what is said of a cell after its name), in the order of the sentences."""


def _seeds(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.seed) for run in runs)


def devices(sections: Sequence[Section]) -> tuple[str, ...]:
    """Return one sentence on where everything was measured; none where nothing was."""
    runs = [run for _, entry in _places(sections) for run in entry.finished]
    names = sorted({f"{run.device_name} ({run.device})" for run in runs})
    return (f"Measured on {', '.join(names)}.",) if names else ()


def _places(sections: Sequence[Section]) -> Iterator[tuple[str, Entry]]:
    """Yield the name and entry of every cell, a task with several metrics once."""
    for section in sections:
        on = f" ({section.backbone})" if len(sections) > 1 else ""
        for line in section.lines:
            seen: set[str] = set()
            for column, entry in zip(section.columns, line.entries, strict=True):
                if column.task not in seen:
                    seen.add(column.task)
                    yield f"{_name(line, column)}{on}", entry


def _name(line: Line, column: Column) -> str:
    return f"{line.name} on {column.task}"
