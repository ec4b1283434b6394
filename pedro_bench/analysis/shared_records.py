"""Tables that the same trained runs fill: one by how they were tested, others by how they were evaluated.

RED's Tables 4, 16 and 18 are of the same models. A layout whose `records` names another table has the
evaluations of that table's runs; what it shows does not stand in the other one too.
"""

from collections.abc import Iterable, Mapping

import msgspec

from pedro_bench.analysis.papers import Layout, layout_of, sharing
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection

Given = tuple[Run, Selection]
"""A run, and whether its cell shows it."""

MT_BENCH = "mt_bench"
AVERAGE = "average"

_VIEWS: Mapping[str, str] = {
    "mt_bench_turn1": "turn_1",
    "mt_bench_turn2": "turn_2",
    "mt_bench_final": "score",
}
"""Task of RED's Table 16 -> the metric that an evaluation of MT-Bench has of it, over all and by category."""


def shares(given: Iterable[Given]) -> list[tuple[str, Layout | None, list[Given]]]:
    """Return name, layout and runs of every table that some runs fill, backbones and data together.

    Args:
        given: Runs with their selections.
    """
    suites: dict[str, list[Given]] = {}
    for run, selection in given:
        suites.setdefault(run.suite, []).append((run, selection))
    found: list[tuple[str, Layout | None, list[Given]]] = []
    for suite, own in suites.items():
        layout = layout_of(suite)
        others = sharing(layout) if layout is not None else []
        elsewhere: set[str] = set()
        for other in others:
            tasks = {task for task, _ in other.columns}
            shown = [(view, selection) for run, selection in own for view in _views(run, tasks)]
            elsewhere |= {run.task for run, _ in own if _views(run, tasks)}
            if shown and layout is not None:
                found.append((suite.replace(layout.name, other.name), other, shown))
        kept = [(run, selection) for run, selection in own if run.task not in elsewhere]
        if kept:
            found.append((suite, layout, kept))
    return found


def _views(run: Run, tasks: set[str]) -> list[Run]:
    """Return an evaluation as the tasks of a table: itself, or its turns; nothing where it is neither."""
    if run.evaluates is None:
        return []
    if run.task in tasks:
        return [run]
    if run.task != MT_BENCH:
        return []
    return [_turn(run, task, metric) for task, metric in _VIEWS.items() if task in tasks]


def _turn(run: Run, task: str, metric: str) -> Run:
    """Return one turn of MT-Bench, or both, as a task: a metric a category, and their mean."""
    scores = {name: part[metric] for name, part in run.parts.items() if metric in part}
    if metric in run.scores:
        scores[AVERAGE] = run.scores[metric]
    return msgspec.structs.replace(
        run,
        task=task,
        config={**run.config, "task": {"name": task}},
        main_metric=AVERAGE,
        metrics={"test": scores},
        predictions=None,  # they are of both turns
    )
