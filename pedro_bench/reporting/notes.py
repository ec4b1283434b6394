"""Notes: captions, and every doubt about a table's numbers as a sentence."""

from collections.abc import Iterator, Sequence

from pedro_bench.reporting.layouts import Layout
from pedro_bench.reporting.report import FULL_SEEDS, Column, Entry, Line, Section

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


def notes(sections: Sequence[Section]) -> list[str]:
    """Return a sentence on every failed, unfinished, incomplete, superseded or uncommitted cell."""
    found, few, dirty, begun, superseded = [], [], [], [], []
    for place, entry in _places(sections):
        found += [f"Failed: {place}, seed {run.seed}: {run.error}" for run in entry.failed]
        if entry.unfinished:
            seeds = ", ".join(str(run.seed) for run in entry.unfinished)
            begun.append(f"{place} (seed {seeds})")
        if entry.superseded:
            superseded.append(f"{place} ({', '.join(entry.superseded)})")
        if entry.status == "partial":
            few.append(f"{place} has {len(entry.finished)}")
        if entry.dirty:
            dirty.append(f"{place} ({entry.dirty} of {len(entry.finished)} runs)")
    if begun:
        found.append(f"Begun and not finished: {', '.join(begun)}.")
    if superseded:
        found.append(f"Superseded by newer runs, and not shown: {', '.join(superseded)}.")
    if few:
        found.append(f"Fewer than {FULL_SEEDS} seeds: {', '.join(few)}.")
    if dirty:
        found.append(f"Uncommitted code: {', '.join(dirty)}.")
    return found


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
