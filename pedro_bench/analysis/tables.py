"""Tables: a frame of runs -> tables with every statistic; those of the papers in the papers' order.

runs -> which of them are shown (`selection`)
-> which table each is in: one of a paper, or of its suite, backbone and data (`shared_records`)
-> the rows of each backbone and the columns of the table (`row_runs`, `columns`)
-> sections with cells, ranks and verdicts (`sections`)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import pandas as pd

from pedro_bench.analysis.cells import Column
from pedro_bench.analysis.columns import columns_of
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.papers import REPEATS, SEEDS, Layout, distinct, is_small
from pedro_bench.analysis.reading import no_collection
from pedro_bench.analysis.row_runs import rows_of, with_missing_rows
from pedro_bench.analysis.rows import name_rows
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.sections import SectionPlan, section_of
from pedro_bench.analysis.selection import select_shown
from pedro_bench.analysis.shared_records import Given, shares
from pedro_bench.analysis.table import Section, Table
from pedro_bench.errors import RecordError


@dataclass
class _Group:
    """The runs of one table: its name, its layout (None where there is none), runs with their selections."""

    name: str
    layout: Layout | None
    given: list[Given] = field(default_factory=list)


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
    groups = _groups(list(zip(runs, selected.selections, strict=True)))
    return [_table(group) for group in sorted(groups, key=lambda group: group.name)]


def _named_together(runs: list[Run]) -> list[Run]:
    """Return runs whose settings name them among all; each folder's were named by themselves."""
    if len({run.path.removesuffix(run.record) for run in runs}) < 2:
        return runs
    copies = [msgspec.structs.replace(run) for run in runs]
    name_rows(copies)
    return copies


def _groups(given: Sequence[Given]) -> list[_Group]:
    """Return the runs of each table; a paper's table of several backbones has all of them."""
    groups: dict[str, _Group] = {}
    for table, layout, own in shares(given):
        has_all_backbones = layout is not None and len(layout.backbones) > 1
        for run, selection in own:
            parts = (table, run.data) if has_all_backbones else (table, run.backbone, run.data)
            name = "--".join(parts)
            groups.setdefault(name, _Group(name, layout)).given.append((run, selection))
    return list(groups.values())


def _table(group: _Group) -> Table:
    first, _ = group.given[0]
    layout = _begun_part(group)
    by_backbone = {
        backbone: with_missing_rows(rows_of(group.given, backbone), layout)
        for backbone in _backbones(group)
    }
    found = columns_of(by_backbone, layout)
    published_columns = [
        Column(task, task, metric) for task, metric in (layout.published if layout else ())
    ]
    over = _over(group)
    sections = [
        section_of(
            SectionPlan(
                backbone=backbone,
                data=first.data,
                layout=layout,
                columns=found.columns,
                is_planned=found.is_planned[backbone],
                published_columns=published_columns,
                is_measured=over == REPEATS,
            ),
            rows,
        )
        for backbone, rows in by_backbone.items()
    ]
    return Table(
        name=group.name,
        suite=first.suite,
        data=first.data,
        layout=layout,
        columns=found.columns,
        sections=_with_distinct_labels(sections),
        published_columns=published_columns,
        over=over,
    )


def _begun_part(group: _Group) -> Layout | None:
    """Return a table's layout, in a suite on a small backbone only with the columns that have records."""
    first, _ = group.given[0]
    if group.layout is None or not is_small(first.suite):
        return group.layout
    begun = {run.task for run, _ in group.given}
    columns = tuple(column for column in group.layout.columns if column[0] in begun)
    return msgspec.structs.replace(group.layout, columns=columns)


def _backbones(group: _Group) -> list[str]:
    """Return the backbones of a table in the layout's order, then by name."""
    order = group.layout.backbones if group.layout else ()
    return sorted(
        {run.backbone for run, _ in group.given},
        key=lambda one: (order.index(one) if one in order else len(order), one),
    )


def _over(group: _Group) -> str:
    """Return what the medians of a table are over: the layout says so, elsewhere the runs do."""
    if group.layout is not None:
        return group.layout.over
    return REPEATS if all(run.is_measurement for run, _ in group.given) else SEEDS


def _with_distinct_labels(sections: Sequence[Section]) -> list[Section]:
    labels = distinct({section.backbone: section.label for section in sections})
    return [replace(section, label=labels[section.backbone]) for section in sections]
