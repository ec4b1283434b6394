"""Mixtures: columns whose runs were not made alike, each with what differs and the methods on either side.

What differs in protocol, rows, weights, judge or kind of device (`conditions`) is not compared. Other seeds
and other commits are told and no more: a commit need not move a number. So are settings of the trainer that
a row has by task.
"""

from collections.abc import Iterable, Mapping, Sequence

from pedro_bench.reporting.conditions import RUN, Conditions, conditions_of, text_of
from pedro_bench.reporting.report import FULL_SEEDS, Entry, Line, Section, on_backbone

Sides = Mapping[str, Sequence[str]]
"""Value -> names of the lines that have it."""


def mixtures(sections: Sequence[Section], over: str = "seeds") -> list[str]:
    """Return a sentence on everything in which the finished runs of a column should agree and do not.

    Args:
        sections: The report's sections.
        over: What medians are over: `seeds` or `repeats`.
    """
    told: dict[str, dict[str, list[str]]] = {}  # what differs -> how -> columns
    for section in sections:
        on = on_backbone(section, sections)
        for place, column in enumerate(section.columns):
            for what, sides in _mixed(section, place, over).items():
                how = "; ".join(f"{value}: {', '.join(names)}" for value, names in sides.items())
                told.setdefault(what, {}).setdefault(how, []).append(f"{column.task}{on}")
    return [
        f"Different {what} in one column: "
        + ", ".join(f"{', '.join(dict.fromkeys(tasks))} ({how})" for how, tasks in columns.items())
        + "."
        for what, columns in told.items()
    ]


def by_task(sections: Sequence[Section]) -> list[str]:
    """Return a sentence on each setting of the trainer that some row has by task, with its values."""
    told: dict[str, list[str]] = {}
    for section in sections:
        on = on_backbone(section, sections)
        for line in section.lines:
            for name, sides in _settings_by_task(section, line).items():
                how = "; ".join(f"{value}: {', '.join(tasks)}" for value, tasks in sides.items())
                told.setdefault(name, []).append(f"{line.name}{on} ({how})")
    return [f"{name} by task: {', '.join(lines)}." for name, lines in sorted(told.items())]


def _settings_by_task(section: Section, line: Line) -> dict[str, Sides]:
    trained = {
        column.task: entry.finished[0].settings
        for column, entry in zip(section.columns, line.entries, strict=True)
        if entry.finished and entry.finished[0].evaluated is None
    }
    found: dict[str, Sides] = {}
    first = next(iter(trained.values()), {})
    if all(own == first for own in trained.values()):
        return found
    for name in sorted({name for own in trained.values() for name in own}):
        sides = _sides((task, [text_of(own[name])]) for task, own in trained.items() if name in own)
        if name.startswith("trainer.") and len(sides) > 1:
            found[name] = sides
    return found


def _mixed(section: Section, place: int, over: str) -> dict[str, Sides]:
    """Return what differs in one column, with its sides."""
    cells = [(line.name, line.entries[place]) for line in section.lines]
    made = {name: one for name, entry in cells if (one := conditions_of(entry.finished))}
    found = {
        **_sides_of_facts(made),
        **_sides_of_settings(made),
        over: _sides_of_seeds(cells),
        "commits": _sides((name, _commits(entry)) for name, entry in cells),
    }
    return {what: sides for what, sides in found.items() if len(sides) > 1}


def _sides_of_facts(made: Mapping[str, Conditions]) -> dict[str, Sides]:
    cells = list(made.values())
    if all(one.facts == cells[0].facts for one in cells):
        return {name: {own: list(made) for own in cells[0].facts[name]} for name in _several(cells)}
    names = dict.fromkeys(name for one in cells for name in one.facts if name != RUN)
    found = {
        name: _sides((line, one.facts.get(name, ())) for line, one in made.items())
        for name in names
    }
    if len(found.get("weights", ())) == 1 and all("weights" in one.facts for one in made.values()):
        return {name: own for name, own in found.items() if not name.startswith("backbone.")}
    return found


def _several(cells: Sequence[Conditions]) -> list[str]:
    """Return the facts with several values of a first cell."""
    return [
        name for one in cells[:1] for name, own in one.facts.items() if len(own) > 1 and name != RUN
    ]


def _sides_of_settings(made: Mapping[str, Conditions]) -> dict[str, Sides]:
    """Return what differs between methods; where rows of one method differ, their names tell it."""
    found: dict[str, Sides] = {}
    cells = list(made.values())
    if all(one.settings == cells[0].settings for one in cells):
        return found
    for name in sorted({name for one in made.values() for name in one.settings}):
        having = {line: one for line, one in made.items() if name in one.settings}
        if len({one.method for one in having.values()}) > 1:
            found[name] = _sides(
                (line, [text_of(one.settings[name])]) for line, one in having.items()
            )
    return found


def _sides_of_seeds(cells: Sequence[tuple[str, Entry]]) -> Sides:
    """Return the seeds of cells; one that merely lacks some of another's is told elsewhere."""
    seeds = {name: {run.seed for run in entry.finished} for name, entry in cells}
    lacking = {
        name
        for name, own in seeds.items()
        if len(own) < FULL_SEEDS and any(own < other for other in seeds.values())
    }
    return _sides(
        (name, [ranges(own)]) for name, own in seeds.items() if own and name not in lacking
    )


def _commits(entry: Entry) -> list[str]:
    return sorted({run.commit[:8] for run in entry.finished if run.commit})


def _sides(having: Iterable[tuple[str, Iterable[str]]]) -> Sides:
    """Return value -> names, of names and the values of each."""
    sides: dict[str, list[str]] = {}
    for name, values in having:
        for value in values:
            sides.setdefault(value, []).append(name)
    return sides


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers in words: `0-4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in parts)
