"""Disagreements: in what the runs of one column, or of one row, are not alike; notes under a table say it.

The finished runs of a column should agree in their `conditions`, or its cells cannot be compared
(`comparability`). They may differ in seeds, processes and commits, which the notes list too. The
runs of a row may differ by task in settings of the trainer, such as RED's rate for each task.
"""

from collections.abc import Iterable, Mapping, Sequence

from pedro_bench.analysis.conditions import RUN, Conditions, conditions_of
from pedro_bench.analysis.recorded_settings import text_of
from pedro_bench.analysis.run import Run

Sides = Mapping[str, Sequence[str]]
"""Value -> names of the rows (or tasks) that have it; more than one value is a disagreement."""


def differing(cells: Mapping[str, Sequence[Run]], full_seeds: int) -> dict[str, Sides]:
    """Return everything in which the finished runs of one column should agree and do not.

    Args:
        cells: Name of the row -> its runs that are shown.
        full_seeds: Seeds that a cell should have; of a cell with fewer, missing ones are no difference.

    Returns:
        What differs -> value -> names of the rows; `seeds`, `processes` and `commits` among them.
    """
    made = {row: one for row, runs in cells.items() if (one := conditions_of(runs))}
    found = {
        **_sides_of_facts(made),
        **_sides_of_settings(made),
        "seeds": _sides_of_seeds(cells, full_seeds),
        "processes": _sides((row, _processes(runs)) for row, runs in cells.items()),
        "commits": _sides((row, _commits(runs)) for row, runs in cells.items()),
    }
    return {what: sides for what, sides in found.items() if len(sides) > 1}


def settings_by_task(cells: Mapping[str, Sequence[Run]]) -> dict[str, Sides]:
    """Return a row's settings of the trainer that differ by task: name -> value -> tasks.

    Args:
        cells: Task -> the row's runs that are shown; evaluations of runs do not count.
    """
    trained = {
        task: runs[0].known for task, runs in cells.items() if runs and not runs[0].evaluates
    }
    first = next(iter(trained.values()), {})
    if all(own == first for own in trained.values()):
        return {}
    found = {}
    for name in sorted({name for own in trained.values() for name in own}):
        sides = _sides((task, [text_of(own[name])]) for task, own in trained.items() if name in own)
        if name.startswith("trainer.") and len(sides) > 1:
            found[name] = sides
    return found


def _sides_of_facts(made: Mapping[str, Conditions]) -> dict[str, Sides]:
    """Return the sides of each fact; of where weights lay only if some record does not name them."""
    cells = made.values()
    names = dict.fromkeys(name for one in cells for name in one.facts if name != RUN)
    found = {
        name: _sides((row, one.texts(name)) for row, one in made.items() if name in one.facts)
        for name in names
    }
    if len(found.get("weights", ())) == 1 and all("weights" in one.facts for one in cells):
        return {name: own for name, own in found.items() if not name.startswith("backbone.")}
    return found


def _sides_of_settings(made: Mapping[str, Conditions]) -> dict[str, Sides]:
    """Return the sides of each setting that several methods have; of one method it names the rows."""
    cells = list(made.values())
    if all(one.settings == cells[0].settings for one in cells):
        return {}
    found = {}
    for name in sorted({name for one in cells for name in one.settings}):
        having = {row: one for row, one in made.items() if name in one.settings}
        if len({one.method for one in having.values()}) > 1:
            found[name] = _sides((row, one.texts(name)) for row, one in having.items())
    return found


def _sides_of_seeds(cells: Mapping[str, Sequence[Run]], full_seeds: int) -> Sides:
    """Return the seeds of cells, without those that merely lack some of another's."""
    seeds = {row: {run.seed for run in runs} for row, runs in cells.items() if runs}
    lacking = {
        row
        for row, own in seeds.items()
        if len(own) < full_seeds and any(own < other for other in seeds.values())
    }
    return _sides((row, [ranges(own)]) for row, own in seeds.items() if row not in lacking)


def _processes(runs: Sequence[Run]) -> list[str]:
    """Return over how many processes `accelerate launch` divided runs, each number once."""
    found = {
        (run.environment.processes, run.shares > 1) for run in runs if run.environment.processes
    }
    return [
        f"{number}{' with the layers split' if is_split else ''}"
        for number, is_split in sorted(found)
    ]


def _commits(runs: Sequence[Run]) -> list[str]:
    return sorted({commit[:8] for run in runs if (commit := run.environment.commit)})


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
