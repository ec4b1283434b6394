"""Tables: a frame of runs -> tables with every statistic; those of the papers in the papers' order."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import pandas as pd

from pedro_bench.analysis.cells import Column, cell_of
from pedro_bench.analysis.claims import verdicts
from pedro_bench.analysis.comparability import are_shared
from pedro_bench.analysis.comparison import Ranks, ranks
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.judging import judge
from pedro_bench.analysis.paper_protocol import departures
from pedro_bench.analysis.papers import (
    MICRO,
    REPEATS,
    SEEDS,
    STAND_INS,
    Layout,
    is_small,
    label_of,
    paper_score,
    plain,
    published_of,
)
from pedro_bench.analysis.reading import no_collection
from pedro_bench.analysis.recorded_settings import normalised, text_of
from pedro_bench.analysis.rows import name_rows
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection, select_shown
from pedro_bench.analysis.shared_records import Given, shares
from pedro_bench.analysis.table import Line, Section, Table, most_parameters
from pedro_bench.errors import RecordError

_SETTING = re.compile(r", (?=[\w.]+=)")


@dataclass
class _Row:
    """The runs of one row, before anything is computed: task -> selection -> runs."""

    method: str
    label: str
    settings: str = ""
    tasks: dict[str, dict[Selection, list[Run]]] = field(default_factory=dict)

    @property
    def runs(self) -> Iterator[Run]:
        """Its runs that finished, failed or were begun, without those that others replace."""
        for own in self.tasks.values():
            for selection in (Selection.SHOWN, Selection.FAILED, Selection.UNFINISHED):
                yield from own.get(selection, ())


@dataclass(frozen=True)
class _Place:
    """What the cells of one section share: where they are, the columns, whether they measure a device."""

    backbone: str
    data: str
    layout: Layout | None
    columns: Sequence[Column]
    has: Sequence[bool]
    published_columns: Sequence[Column]
    is_measured: bool

    @property
    def is_micro(self) -> bool:
        """Whether backbone or data are the embedded ones."""
        return MICRO in (self.backbone, self.data)


@no_collection()
def tables(frame: pd.DataFrame) -> list[Table]:
    """Return one table for each table of a paper, or for each backbone where there is no such table.

    Args:
        frame: What `results` gives, or some rows of it; or of several folders, put together.

    Returns:
        The tables, in order of their names.

    Raises:
        RecordError: If two groups of runs of one cell cannot be ordered.
    """
    runs = _named_together(runs_of(frame))
    selected = select_shown(runs)
    if selected.problems:
        raise RecordError(selected.problems[0])
    groups: dict[str, list[Given]] = {}
    chosen: dict[str, Layout | None] = {}
    for table, layout, own in shares(zip(runs, selected.selections, strict=True)):
        several = layout is not None and len(layout.backbones) > 1
        for run, selection in own:
            parts = (table, run.data) if several else (table, run.backbone, run.data)
            groups.setdefault("--".join(parts), []).append((run, selection))
            chosen["--".join(parts)] = layout
    return [_table(name, chosen[name], groups[name]) for name in sorted(groups)]


def _named_together(runs: list[Run]) -> list[Run]:
    """Return runs whose settings name them among all; each folder's were named by themselves."""
    if len({run.path.removesuffix(run.record) for run in runs}) < 2:
        return runs
    copies = [msgspec.structs.replace(run) for run in runs]
    name_rows(copies)
    return copies


def _table(name: str, layout: Layout | None, own: Sequence[Given]) -> Table:
    first = own[0][0]
    if layout is not None and is_small(first.suite):
        begun = {run.task for run, _ in own}
        begun_columns = tuple(one for one in layout.columns if one[0] in begun)
        layout = msgspec.structs.replace(layout, columns=begun_columns)
    order = layout.backbones if layout else ()
    by_backbone = {
        backbone: with_missing_rows(_rows(own, backbone), layout)
        for backbone in sorted(
            {run.backbone for run, _ in own},
            key=lambda one: (order.index(one) if one in order else len(order), one),
        )
    }
    columns, has = _columns(by_backbone, layout)
    extra = layout.published if layout else ()
    shown = [Column(task, task, metric) for task, metric in extra]
    over = layout.over if layout else _over(own)
    found = [
        _section(
            _Place(backbone, first.data, layout, columns, has[backbone], shown, over == REPEATS),
            rows,
        )
        for backbone, rows in by_backbone.items()
    ]
    labels = distinct({section.backbone: section.label for section in found})
    sections = [replace(section, label=labels[section.backbone]) for section in found]
    return Table(name, first.suite, first.data, layout, columns, sections, shown, over)


def _over(own: Sequence[Given]) -> str:
    """Return what the medians of runs outside the papers' tables are over."""
    return REPEATS if all(run.is_measurement for run, _ in own) else SEEDS


def _rows(own: Sequence[Given], backbone: str) -> list[_Row]:
    """Return a backbone's rows, by method and then by settings, runs in order of seeds."""
    rows: dict[tuple[str, int, str], _Row] = {}
    for run, selection in sorted(own, key=lambda one: (one[0].seed, one[0].key)):
        if run.backbone == backbone:
            place = (run.method, run.row, run.settings)
            row = rows.setdefault(place, _Row(run.method, run.label, run.settings))
            row.tasks.setdefault(run.task, {}).setdefault(selection, []).append(run)
    return [rows[place] for place in sorted(rows)]


def with_missing_rows(rows: Sequence[_Row], layout: Layout | None) -> list[_Row]:
    """Return the rows in the layout's order, with an empty one for each method or size without a record.

    Args:
        rows: What the records have.
        layout: The table's layout; without one the rows stay as they are.
    """
    if layout is None:
        return list(rows)
    every = []
    for row in rows:
        number, size = _size_of(row, layout.sizes.get(row.method, ()))
        others = (one for one in _SETTING.split(row.settings) if one and one not in size)
        every.append((number, replace(row, settings=", ".join((*size, *others)))))
    present = {(row.method, number) for number, row in every}
    for name in (name for group in layout.methods for name in group):
        sizes = layout.sizes.get(name, ())
        labels = [row.label for row in rows if row.method == name] or [label_of("methods", name)]
        if sizes or all(row.method != name for row in rows):
            every += [
                (number, _Row(name, labels[0], ", ".join(size)))
                for number, size in enumerate(sizes or ((),))
                if (name, number) not in present
            ]
    ordered = sorted(every, key=lambda one: (*layout.place_of(one[1].method), one[0]))
    return [row for _, row in ordered]  # sorting is stable: other settings keep their order


def _size_of(row: _Row, sizes: Sequence[Sequence[str]]) -> tuple[int, Sequence[str]]:
    """Return the number of a row's size and its settings; behind all others where it has another."""
    method = next((run.config.get("method") or {} for run in row.runs), {})
    for number, size in enumerate(sizes):
        pairs = [one.partition("=")[::2] for one in size]
        known = [(name, value) for name, value in pairs if name in method]
        if known and all(text_of(normalised(method[name])) == value for name, value in known):
            return number, tuple(f"{name}={value}" for name, value in known)
    return len(sizes), ()


def _columns(
    by_backbone: Mapping[str, Sequence[_Row]], layout: Layout | None
) -> tuple[list[Column], dict[str, list[bool]]]:
    """Return the layout's columns, then the tasks that only records have; and which a backbone has."""
    own: dict[str, list[Column]] = {}
    for backbone, rows in by_backbone.items():
        chosen = _of_layout(layout, rows)
        recorded = {task for row in rows for task in row.tasks} - {task for task, _ in chosen}
        every = [*chosen, *((task, None) for task in sorted(recorded))]
        own[backbone] = [_column(task, metric, rows) for task, metric in every]
    columns: list[Column] = []
    for column in (one for found in own.values() for one in found):
        place = next((n for n, one in enumerate(columns) if _is_same(one, column)), None)
        if place is None:
            columns.append(column)
        elif columns[place].metric is None or column.lower_is_better:
            columns[place] = column  # another backbone's records say more
    has = {
        backbone: [any(_is_same(column, one) for one in found) for column in columns]
        for backbone, found in own.items()
    }
    labels = distinct({column.task: column.label for column in columns})
    return [replace(column, label=labels[column.task]) for column in columns], has


def distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Return name -> printed name, followed by the name itself where another is printed alike."""
    counts = Counter(labels.values())
    return {
        name: f"{label} [{name}]" if counts[label] > 1 else label for name, label in labels.items()
    }


def _of_layout(layout: Layout | None, rows: Sequence[_Row]) -> list[tuple[str, str | None]]:
    """Return the layout's columns, a metric's stand-in behind it where a run has it."""
    found: list[tuple[str, str | None]] = []
    for task, metric in layout.columns if layout else ():
        found.append((task, metric))
        stand_in = STAND_INS.get(metric or "")
        shown = (run for row in rows for run in row.tasks.get(task, {}).get(Selection.SHOWN, ()))
        if any(stand_in in run.scores for run in shown):
            found.append((task, stand_in))
    return found


def _column(task: str, metric: str | None, rows: Sequence[_Row]) -> Column:
    runs = [run for row in rows for own in row.tasks.get(task, {}).values() for run in own]
    settings = [(run.main_metric, run.config.get("task") or {}) for run in runs]
    label = settings[0][1].get("label") if settings else None
    own = metric or (settings[0][0] if settings else None)
    lower = any(main == own and task.get("lower_is_better") for main, task in settings)
    return Column(task, str(label or label_of("tasks", task)), own, lower)


def _is_same(one: Column, other: Column) -> bool:
    """Whether two columns are one; a metric that is not known is any of its task."""
    is_metric = one.metric == other.metric or None in (one.metric, other.metric)
    return one.task == other.task and is_metric


def _section(place: _Place, rows: Sequence[_Row]) -> Section:
    layout = place.layout
    lines = [_line(place, row, label) for row, label in zip(rows, _labels(rows), strict=True)]
    for number in range(len(place.columns)):
        judge([line.cells[number] for line in lines])
    if layout:
        _publish(place, layout, lines)
    every = [run for row in rows for run in row.runs]
    label = dict(every[0].config.get("backbone") or {}).get("label") if every else None
    return Section(
        backbone=place.backbone,
        label=plain(str(label or label_of("backbones", place.backbone))),
        is_micro=place.is_micro,
        lines=lines,
        ranks=_ranks(lines, place.columns),
        verdicts=verdicts(layout.name, lines, place.columns) if layout else (),
    )


def _line(place: _Place, row: _Row, label: str) -> Line:
    shown = [run for own in row.tasks.values() for run in own.get(Selection.SHOWN, ())]
    return Line(
        method=row.method,
        label=label,
        settings=row.settings,
        group=place.layout.group_of(row.method) if place.layout else 0,
        matrices=most_parameters(shown, "matrices"),
        trainable=most_parameters(shown, "trainable"),
        cells=[
            cell_of(
                column,
                row.tasks.get(column.task, {}),
                is_planned=is_planned,
                is_measured=place.is_measured,
            )
            for column, is_planned in zip(place.columns, place.has, strict=True)
        ],
    )


def _labels(rows: Sequence[_Row]) -> list[str]:
    """Return printed names, followed by the method's name where two methods are printed alike."""
    counts = Counter(plain(one) for one in {row.method: row.label for row in rows}.values())
    names = {row.method: row.method.replace("_", r"\_") for row in rows}
    return [
        f"{row.label} [{names[row.method]}]" if counts[plain(row.label)] > 1 else row.label
        for row in rows
    ]


def _publish(place: _Place, layout: Layout, lines: Sequence[Line]) -> None:
    """Write the paper's numbers into rows, and where a difference from them has a meaning."""
    scores = published_of(layout.paper, layout.table)
    is_there = any(key[0] == place.backbone for key in scores)
    source = place.backbone if is_there else layout.backbones[0]
    may_compare = is_there and not place.is_micro and not place.is_measured
    for line in lines:
        for cell in line.cells:
            column = cell.column
            cell.published = paper_score(scores, source, line.method, column.task, column.metric)
            cell.departures = departures(cell.shown, layout.paper) if cell.published else ()
            cell.is_comparable = may_compare and not cell.departures
        line.published_only = [
            paper_score(scores, source, line.method, one.task, one.metric)
            for one in place.published_columns
        ]


def _ranks(lines: Sequence[Line], columns: Sequence[Column]) -> Ranks | None:
    """Rank by one column of each task, that of its main metric, else the first.

    Metrics of one task are no independent tasks.

    Tasks on which some methods cannot be compared are left out, and cells with fewer seeds than others have.
    """
    first: dict[str, int] = {}
    for place, column in enumerate(columns):
        if are_shared(line.cells[place].conditions for line in lines):
            shown = [run for line in lines for run in line.cells[place].shown]
            if column.task not in first or any(run.main_metric == column.metric for run in shown):
                first[column.task] = place
    return ranks(
        {
            line.name: {
                task: columns[place].sign * round(spread.median, 2)
                for task, place in first.items()
                if (spread := line.cells[place].spread) is not None
                and not line.cells[place].short_of
            }
            for line in lines
        }
    )
