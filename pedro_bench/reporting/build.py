"""Build: loaded records -> reports, with every statistic; tables of the papers in the papers' order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pedro_bench.reporting.beside import beside_published, departure_notes, paper_score
from pedro_bench.reporting.conditions import are_shared
from pedro_bench.reporting.evidence import Evidence, evidence_of
from pedro_bench.reporting.expected import with_expected
from pedro_bench.reporting.layouts import MICRO, SEEDS, STAND_INS, Layout, label_of, layout_of
from pedro_bench.reporting.load import Cell, Panel, Row
from pedro_bench.reporting.mixtures import by_task, mixtures
from pedro_bench.reporting.notes import caption, devices, missing, notes
from pedro_bench.reporting.published_scores import published_of
from pedro_bench.reporting.ranks import Ranks, ranks
from pedro_bench.reporting.report import Column, Entry, Line, Report, Section
from pedro_bench.reporting.standing import with_standing
from pedro_bench.reporting.statistics import spread
from pedro_bench.reporting.stored import no_collection
from pedro_bench.reporting.verdicts import Cells, verdicts

_EMPTY = Cell((), ())


@no_collection()
def reports(panels: Mapping[Panel, Sequence[Row]]) -> list[Report]:
    """Build one report for each table of a paper, or for each backbone where there is no such table.

    Args:
        panels: What `load` gives.

    Returns:
        The reports, in order of their names.
    """
    groups: dict[str, list[Panel]] = {}
    for panel in panels:
        several = layout_of(panel.suite)
        name = (
            f"{panel.suite}--{panel.data}"
            if several is not None and len(several.backbones) > 1
            else f"{panel.suite}--{panel.backbone}--{panel.data}"
        )
        groups.setdefault(name, []).append(panel)
    return [_report(name, groups[name], panels) for name in sorted(groups)]


def _report(name: str, own: Sequence[Panel], panels: Mapping[Panel, Sequence[Row]]) -> Report:
    layout = layout_of(own[0].suite)
    order = layout.backbones if layout else ()
    ordered = sorted(own, key=lambda one: (_index(order, one.backbone), one.backbone))
    sections = tuple(_section(panel, panels[panel], layout) for panel in ordered)
    return Report(
        name=name,
        suite=own[0].suite,
        data=own[0].data,
        caption=caption(own[0].suite, own[0].data, sections, layout),
        sections=sections,
        notes=_notes(sections, layout),
        missing=missing(sections),
        over=layout.over if layout else SEEDS,
    )


def _notes(sections: Sequence[Section], layout: Layout | None) -> tuple[str, ...]:
    over = layout.over if layout else SEEDS
    doubts = (*notes(sections, over), *mixtures(sections, over), *by_task(sections))
    if layout is None:
        return doubts
    where = devices(sections) if layout.measures_device else ()
    return (*doubts, *departure_notes(sections, layout), *where, *layout.notes)


def _section(panel: Panel, rows: Sequence[Row], layout: Layout | None) -> Section:
    is_micro = MICRO in (panel.backbone, panel.data)
    columns = _columns(rows, layout)
    published = published_of(layout.paper, layout.table) if layout else {}
    source = panel.backbone
    if layout and not any(key[0] == source for key in published):
        source = layout.backbones[0]
    is_elsewhere = is_micro or source != panel.backbone
    is_comparable = not is_elsewhere and not (layout and layout.measures_device)
    extra = layout.published if layout else ()
    shown = [Column(task, task, metric) for task, metric in extra]
    lines: list[Line] = []
    cells: dict[tuple[int, int], Evidence] = {}
    for row in with_expected(rows, layout):
        for place, column in enumerate(columns):
            cell = row.cells.get(column.task, _EMPTY)
            cells[len(lines), place] = evidence_of(
                cell.finished,
                column.metric or "",
                is_measured=layout is not None and layout.measures_device,
            )
        lines.append(
            Line(
                method=row.method,
                label=row.label,
                settings=row.settings,
                group=_group(layout, row.method),
                matrices=_count(row, "matrices"),
                trainable=_count(row, "trainable"),
                entries=tuple(
                    _entry(row.cells.get(column.task, _EMPTY), cells[len(lines), place])
                    for place, column in enumerate(columns)
                ),
                published_only=tuple(paper_score(published, source, row, one) for one in shown),
            )
        )
        if layout:
            lines[-1] = beside_published(
                lines[-1], columns, published, source, layout.paper, is_comparable=is_comparable
            )
    finished = _with_statistics(lines, columns, cells)
    return Section(
        backbone=panel.backbone,
        label=_backbone_label(panel, rows),
        is_micro=is_micro,
        columns=columns,
        lines=finished,
        published_columns=tuple(shown),
        ranks=_ranks(finished, columns, cells),
        verdicts=verdicts(layout.name, finished, columns, cells) if layout else (),
    )


def _columns(rows: Sequence[Row], layout: Layout | None) -> tuple[Column, ...]:
    """Return the layout's columns, then the tasks that only the records have, by name."""
    recorded = sorted({task for row in rows for task in row.cells})
    chosen = []
    for task, metric in layout.columns if layout else ():
        chosen.append((task, metric))
        stand_in = STAND_INS.get(metric or "")
        cells = [row.cells[task] for row in rows if task in row.cells]
        if any(stand_in in run.scores for cell in cells for run in cell.finished):
            chosen.append((task, stand_in))
    known = {task for task, _ in chosen}
    chosen += [(task, None) for task in recorded if task not in known]
    found = []
    for task, metric in chosen:
        cells = [row.cells[task] for row in rows if task in row.cells]
        runs = [run for cell in cells for run in (*cell.finished, *cell.failed, *cell.unfinished)]
        label = dict(runs[0].config.get("task") or {}).get("label") if runs else None
        own = metric or (runs[0].main_metric if runs else None)
        found.append(Column(task, str(label or label_of("tasks", task)), own))
    return tuple(found)


def _entry(cell: Cell, evidence: Evidence) -> Entry:
    return Entry(
        finished=cell.finished,
        failed=cell.failed,
        unfinished=cell.unfinished,
        superseded=cell.superseded,
        overtaking=cell.overtaking,
        replaced=cell.replaced,
        outdated=cell.outdated,
        lost=evidence.reason if evidence.is_lost else "",
        spread=spread(evidence.values) if evidence.values else None,
    )


def _with_statistics(
    lines: Sequence[Line], columns: Sequence[Column], cells: Cells
) -> tuple[Line, ...]:
    by_column = []
    for place in range(len(columns)):
        own = [cells[number, place] for number in range(len(lines))]
        entries = [line.entries[place] for line in lines]
        by_column.append(with_standing(entries, own, columns[place].sign))
    return tuple(
        replace(line, entries=tuple(column[number] for column in by_column))
        for number, line in enumerate(lines)
    )


def _ranks(lines: Sequence[Line], columns: Sequence[Column], cells: Cells) -> Ranks | None:
    """Rank by the first column of each task: metrics of one task are no independent tasks.

    Tasks on which some methods cannot be compared are left out.
    """
    first: dict[str, int] = {}
    for place, column in enumerate(columns):
        if are_shared(cells[number, place].conditions for number in range(len(lines))):
            first.setdefault(column.task, place)
    return ranks(
        {
            line.name: {
                task: columns[place].sign * round(spread.median, 2)
                for task, place in first.items()
                if (spread := line.entries[place].spread) is not None
            }
            for line in lines
        }
    )


def _count(row: Row, kind: str) -> int | None:
    """Return the row's number of parameters; where tasks differ (a search), the greatest."""
    runs = [run for cell in row.cells.values() for run in cell.finished]
    counts = [run.matrices if kind == "matrices" else run.trainable for run in runs]
    return max((count for count in counts if count is not None), default=None)


def _group(layout: Layout | None, method: str) -> int:
    if layout is None:
        return 0
    group = layout.group_of(method)
    return len(layout.methods) if group is None else group


def _backbone_label(panel: Panel, rows: Sequence[Row]) -> str:
    for row in rows:
        for cell in row.cells.values():
            for run in (*cell.finished, *cell.failed, *cell.unfinished):
                label = dict(run.config.get("backbone") or {}).get("label")
                return str(label or label_of("backbones", panel.backbone))
    return label_of("backbones", panel.backbone)


def _index(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)
