"""Columns: those that the sections of one report share, so that every row stands under its heading.

Sections have the layout's columns, and then the tasks that only their own records have.
"""

from collections.abc import Iterator, Sequence

from pedro_bench.reporting.report import Column, Entry, Line, Section


def shared_columns(sections: Sequence[Section]) -> tuple[Column, ...]:
    """Return the columns of all sections, each once, in the order in which they come first."""
    found: list[Column] = []
    for section in sections:
        for column in section.columns:
            place = place_of(column, found)
            if place is None:
                found.append(column)
            elif found[place].metric is None:  # another section knows the metric
                found[place] = column
    return tuple(found)


def entries_under(
    columns: Sequence[Column], section: Section
) -> Iterator[tuple[Line, list[Entry]]]:
    """Yield a section's lines with their entries in the order of `columns`, an empty one for none."""
    places = [place_of(column, section.columns) for column in columns]
    for line in section.lines:
        yield line, [Entry() if place is None else line.entries[place] for place in places]


def place_of(column: Column, among: Sequence[Column]) -> int | None:
    """Return where a column stands among others; a metric that is not known is any of its task."""
    for place, one in enumerate(among):
        is_same = one.metric == column.metric or None in (one.metric, column.metric)
        if one.task == column.task and is_same:
            return place
    return None
