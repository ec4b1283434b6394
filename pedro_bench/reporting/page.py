"""Page: all reports as one HTML file that opens from the disk; it loads nothing from anywhere.

Everything that records bring is escaped by the template; script and style are this package's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pedro_bench.reporting.blocks import LEGEND, blocks
from pedro_bench.reporting.cells import Block, amount, plain
from pedro_bench.reporting.charts import Chart, curve_chart, point_chart, style_of
from pedro_bench.reporting.curves import curves
from pedro_bench.reporting.labels import distinct, with_rows_told_apart
from pedro_bench.reporting.points import label_of, points
from pedro_bench.reporting.report import FULL_SEEDS, Entry, Report, Section

FOLDER = Path(__file__).parent / "page_files"


@dataclass(frozen=True)
class _Choice:
    """One box of a filter."""

    key: str
    label: str
    colour: str = ""
    dash: str = ""


def page(reports: Sequence[Report]) -> str:
    """Return the page of some reports.

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
    lines = [line for r in reports for section in r.sections for line in section.lines]
    methods = distinct({line.method: plain(line.label) for line in lines})
    reports = list(map(with_rows_told_apart, reports))
    columns = [column for r in reports for section in r.sections for column in section.columns]
    return environment.get_template("page.html").render(
        reports=reports,
        methods=[_Choice(key, methods[key], *style_of(n)) for n, key in enumerate(methods)],
        tasks=[_Choice(key, text) for key, text in {c.task: c.label for c in columns}.items()],
        charts=lambda section: list(_charts(section, list(methods))),
        blocks=lambda report: blocks(report)[1:],
        rows=_rows,
        tasks_of=_tasks_of,
        amount=amount,
        label_of=label_of,
        words=_words,
        legend=LEGEND,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def _charts(section: Section, methods: Sequence[str]) -> Iterator[Chart]:
    """Yield the charts of a section: curves once for each task, points for each column."""
    drawn: set[str] = set()
    for place, column in enumerate(section.columns):
        if column.task not in drawn and (found := curves(section, place)):
            drawn.add(column.task)
            yield curve_chart(column.task, column.label, found, methods)
        for kind in ("parameters", "speed"):
            chart = point_chart(kind, column, points(section, place), methods)
            if chart is not None:
                yield chart


def _words(entry: Entry) -> str:
    """Say what a reader must know of a cell's runs; empty where all is well."""
    found = []
    if entry.spread is not None and entry.spread.seeds < FULL_SEEDS:
        found.append(f"n={entry.spread.seeds}")
    if entry.failed:
        found.append(f"{len(entry.failed)} failed")
    if entry.unfinished:
        found.append(f"{len(entry.unfinished)} unfinished")
    if entry.dirty:
        found.append(f"{entry.dirty} dirty")
    return ", ".join(found)


def _tasks_of(report: Report, block: Block) -> list[str]:
    """Return the task of every column of a block, empty where it is of none."""
    known = {
        column.heading: column.task
        for section in report.sections
        for column in (*section.columns, *section.published_columns)
    }
    return [known.get(heading, "") for heading in block.header]


def _rows(block: Block) -> list[tuple[str, tuple[str, ...]]]:
    """Return (method or nothing, texts of the cells) for every row of a block."""
    return [(row.method, tuple(cell.plain for cell in row.cells)) for row in block.rows]
