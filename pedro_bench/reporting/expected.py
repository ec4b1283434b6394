"""Expected: the rows that a table should have, those without a record among them, in the table's order."""

from collections.abc import Sequence
from dataclasses import replace

from pedro_bench.reporting.conditions import text_of
from pedro_bench.reporting.layouts import Layout, label_of
from pedro_bench.reporting.load import Row
from pedro_bench.reporting.settings import normalised

Size = tuple[str, ...]
"""Settings of one row, such as `("alpha=2", "r=1")`."""


def with_expected(rows: Sequence[Row], layout: Layout | None) -> list[Row]:
    """Return the rows in the layout's order, with an empty one for each method or size without a record.

    Args:
        rows: What the records have.
        layout: The table's layout; without one the rows stay as they are.
    """
    if layout is None:
        return list(rows)
    every = []
    for row in rows:
        number, told = _size_of(row, layout.sizes.get(row.method, ()))
        settings = (*told, *(one for one in row.settings if one not in told))
        every.append((number, replace(row, settings=settings)))
    present = {(row.method, number) for number, row in every}
    for name in (name for group in layout.methods for name in group):
        sizes: Sequence[Size] = layout.sizes.get(name, ())
        labels = [row.label for row in rows if row.method == name] or [label_of("methods", name)]
        if sizes or all(row.method != name for row in rows):
            every += [
                (number, Row(name, labels[0], settings, {}))
                for number, settings in enumerate(sizes or ((),))
                if (name, number) not in present
            ]
    ordered = sorted(every, key=lambda one: (*layout.place_of(one[1].method), one[0]))
    return [row for _, row in ordered]  # sorting is stable: other settings keep their order


def _size_of(row: Row, sizes: Sequence[Size]) -> tuple[int, Size]:
    """Return the number of a row's size and its settings as recorded; behind all where it has another."""
    method = next(
        (
            run.config.get("method") or {}
            for cell in row.cells.values()
            for run in (*cell.finished, *cell.failed, *cell.unfinished)
        ),
        {},
    )
    for number, size in enumerate(sizes):
        pairs = [one.partition("=")[::2] for one in size]
        told = [(name, value) for name, value in pairs if name in method]
        if told and all(text_of(normalised(method[name])) == value for name, value in told):
            return number, tuple(f"{name}={value}" for name, value in told)
    return len(sizes), ()
