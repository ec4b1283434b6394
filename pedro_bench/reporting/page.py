"""Page: all tables as one HTML file that opens from the disk; it loads nothing from anywhere.

A click on a cell shows its runs: the seeds' scores, the records, key, commit, costs, and the command that
makes them anew. Everything that records bring is escaped by the template; script and style are this
package's own, and the drawings Matplotlib's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pedro_bench.analysis.cells import FULL_SEEDS, Cell
from pedro_bench.analysis.papers import distinct, plain
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection
from pedro_bench.analysis.series import AXES, MEASURED, curves, points
from pedro_bench.analysis.table import Line, Section, Table, costs_of
from pedro_bench.reporting.captions import caption, missing, missing_of
from pedro_bench.reporting.figures import AXIS_TITLES, draw_curves, draw_points, inline, swatch
from pedro_bench.reporting.grids import LEGEND, differs, grids, label_of
from pedro_bench.reporting.notes import device_of, notes
from pedro_bench.reporting.numbers import amount, cost_columns

FOLDER = Path(__file__).parent / "page_files"

Command = Callable[[Sequence[Run]], str]
"""Returns the command that makes some runs anew."""


@dataclass(frozen=True)
class _Chart:
    """One chart, and what filters show it by."""

    kind: str
    task: str
    title: str
    drawing: Markup


def page(tables: Sequence[Table], command: Command) -> str:
    """Return the page of some tables, the one with the most scores first.

    Raises:
        RecordError: If a record cannot be read any more.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ordered = sorted(tables, key=lambda table: (-_num_scores(table), table.name))
    lines = [line for one in ordered for section in one.sections for line in section.lines]
    methods = distinct({line.method: plain(line.label) for line in lines})
    return environment.get_template("page.html").render(
        tables=ordered,
        methods=[(key, label, Markup(swatch(n))) for n, (key, label) in enumerate(methods.items())],
        tasks=distinct({column.task: column.label for one in ordered for column in one.columns}),
        charts=lambda table, section: list(_charts(table, section, list(methods))),
        grids=lambda table: grids(table)[1:],
        trace=partial(_trace, command),
        **{one.__name__: one for one in (amount, caption, differs, missing, missing_of, notes)},
        cost_columns=lambda lines: cost_columns(line.costs for line in lines),
        label_of=lambda line: label_of(line).plain,
        words=_words,
        legend=LEGEND,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def _num_scores(table: Table) -> int:
    return sum(cell.spread is not None for _, _, cell in table.places)


def _charts(table: Table, section: Section, methods: Sequence[str]) -> Iterator[_Chart]:
    """Yield the charts of a section: curves once for each task, points for each column that has several."""
    place = f"{table.name} {section.backbone}"
    drawn = curves(table, section)
    for number, column in enumerate(table.columns):
        if found := drawn.pop(column.label, None):
            title = f"{column.label}: dev loss by step"
            draw = partial(draw_curves, found=found, methods=methods)
            yield _Chart("curves", column.task, title, _inline(draw, f"{place} {number} curves"))
        for kind in AXES:
            priced = [one for one in points(section, number) if one.at(kind)]
            if len(priced) > 1 and MEASURED.get(column.metric or "") != kind:
                draw = partial(draw_points, kind=kind, column=column, found=priced, methods=methods)
                title = f"{column.label}: {column.scale} by {AXIS_TITLES[kind]}"
                yield _Chart(kind, column.task, title, _inline(draw, f"{place} {number} {kind}"))


def _inline(draw: Callable[..., Any], salt: str) -> Markup:
    return Markup(inline(draw, salt))


def _words(cell: Cell) -> str:
    """Say what a reader must know of a cell's runs; empty where all is well."""
    few = cell.spread is not None and cell.spread.seeds < FULL_SEEDS
    counts = {
        "failed": len(cell.runs.get(Selection.FAILED, ())),
        "unfinished": len(cell.runs.get(Selection.UNFINISHED, ())),
        "dirty": cell.dirty,
    }
    found = [f"n={cell.spread.seeds}"] if cell.spread is not None and few else []
    return ", ".join([*found, *(f"{number} {word}" for word, number in counts.items() if number)])


def _trace(command: Command, table: Table, line: Line, cell: Cell) -> dict[str, Any] | None:
    """Return what leads from a cell back to its runs, None where no run is shown."""
    runs = cell.scored
    if not runs:
        return None
    costs = costs_of(runs)
    facts = [
        ("Key", runs[0].key),
        ("Commit", ", ".join(dict.fromkeys(run.environment.commit or "not known" for run in runs))),
        ("Device", ", ".join(dict.fromkeys(map(device_of, runs)))),
        *((column.heading, column.of(costs)) for column in cost_columns([costs])),
    ]
    if cell.interval:
        interval = f"{cell.interval.low:.2f} to {cell.interval.high:.2f}"
        facts.insert(0, ("95% interval of the median", interval))
    return {
        "title": f"{label_of(line).plain}, {cell.column.heading}",
        "each": table.each.capitalize(),
        "facts": facts,
        "runs": [
            [run.seed, f"{run.scores[cell.column.metric or '']:.6g}", run.record] for run in runs
        ],
        "command": command(runs),
    }
