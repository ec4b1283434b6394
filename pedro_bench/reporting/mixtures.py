"""Mixtures: columns whose runs did not answer the same test rows, or do not share one backbone.

Records of one task and backbone stand in one column by their names. A name says neither which rows were
the test split (`data.holdout`) nor which weights lay at `backbone.path`, so what differs is told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from pedro_bench.reporting.report import Section
from pedro_bench.reporting.stored import Run

WEIGHTS = ("path", "revision", "random_weights")
"""Settings of a backbone that say which weights it is; precision may differ between methods."""


Values = Callable[[Sequence[Run]], Iterable[str]]
"""Finished runs of one cell, which share a key -> what they have of something."""


def mixtures(sections: Sequence[Section]) -> list[str]:
    """Return a sentence on everything in which the finished runs of a column must agree and do not."""
    found = [_sentence("test rows", sections, _test_rows)]
    found += [_sentence(f"backbone.{name}", sections, partial(_weights, name)) for name in WEIGHTS]
    return [sentence for sentence in found if sentence]


def _sentence(what: str, sections: Sequence[Section], values_of: Values) -> str:
    """Name the columns with several values and the methods that have each; empty where none has."""
    columns: dict[str, list[str]] = {}
    for section in sections:
        on = f" ({section.backbone})" if len(sections) > 1 else ""
        for place, column in enumerate(section.columns):
            sides = _sides(section, place, values_of)
            if len(sides) > 1:
                text = "; ".join(f"{value}: {', '.join(names)}" for value, names in sides.items())
                columns.setdefault(text, []).append(f"{column.task}{on}")
    if not columns:
        return ""
    told = [f"{', '.join(dict.fromkeys(tasks))} ({text})" for text, tasks in columns.items()]
    return f"Different {what} in one column: {', '.join(told)}."


def _sides(section: Section, place: int, values_of: Values) -> dict[str, list[str]]:
    """Return value -> names of the lines with a finished run that has it."""
    sides: dict[str, list[str]] = {}
    for line in section.lines:
        for value in values_of(line.entries[place].finished):
            sides.setdefault(value, []).append(line.name)
    return sides


def _test_rows(runs: Sequence[Run]) -> Iterable[str]:
    """Return the first digits of the rows' fingerprints."""
    return dict.fromkeys(run.test_rows[:8] for run in runs if run.test_rows)


def _weights(name: str, runs: Sequence[Run]) -> Iterable[str]:
    """Return a setting of the backbone; runs of one key share it."""
    backbone = runs[0].config.get("backbone") if runs else None
    return [str(backbone.get(name) or "none")] if isinstance(backbone, Mapping) else []
