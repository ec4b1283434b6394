"""The runs of each row of a table, before anything is computed of them.

Records have the rows (`rows`: a method with the settings that name the row). A paper's table has rows of its
own too, in its own order: a method, or a size of one, without a record has an empty row, so that its cells
are named as missing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pedro_bench.analysis.papers import Layout, label_of, plain
from pedro_bench.analysis.recorded_settings import normalised, text_of
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection
from pedro_bench.analysis.shared_records import Given

_NEXT_SETTING = re.compile(r", (?=[\w.]+=)")


@dataclass
class RowRuns:
    """The runs of one row.

    Attributes:
        method: The method's name.
        label: Its printed name, in LaTeX.
        settings: Settings in which it differs from the method's other rows, such as `r=12`.
        tasks: Task -> selection -> runs, in order of seeds.
    """

    method: str
    label: str
    settings: str = ""
    tasks: dict[str, dict[Selection, list[Run]]] = field(default_factory=dict)

    @property
    def shown(self) -> Iterator[Run]:
        """Its finished runs that are shown."""
        return self._of(Selection.SHOWN)

    def shown_on(self, task: str) -> Sequence[Run]:
        """Return those of one task."""
        return self.tasks.get(task, {}).get(Selection.SHOWN, ())

    @property
    def begun(self) -> Iterator[Run]:
        """Its runs that finished, failed or were begun, without those that others replace."""
        return self._of(Selection.SHOWN, Selection.FAILED, Selection.UNFINISHED)

    def _of(self, *selections: Selection) -> Iterator[Run]:
        """Yield the runs of some selections, task by task."""
        for own in self.tasks.values():
            for selection in selections:
                yield from own.get(selection, ())


def rows_of(given: Sequence[Given], backbone: str) -> list[RowRuns]:
    """Return a backbone's rows, by method and then by settings, runs in order of seeds."""
    rows: dict[tuple[str, int, str], RowRuns] = {}
    for run, selection in sorted(given, key=lambda one: (one[0].seed, one[0].key)):
        if run.backbone == backbone:
            place = (run.method, run.row, run.settings)
            row = rows.setdefault(place, RowRuns(run.method, run.label, run.settings))
            row.tasks.setdefault(run.task, {}).setdefault(selection, []).append(run)
    return [rows[place] for place in sorted(rows)]


@dataclass(frozen=True)
class _Sized:
    """A row with the number of its size in the layout, behind all others where the layout lacks it."""

    row: RowRuns
    number: int


def with_missing_rows(rows: Sequence[RowRuns], layout: Layout | None) -> list[RowRuns]:
    """Return the rows in the layout's order, with an empty one for each method or size without a record.

    Args:
        rows: What the records have.
        layout: The table's layout; without one the rows stay as they are.
    """
    if layout is None:
        return list(rows)
    having = [_sized(row, layout.sizes.get(row.method, ())) for row in rows]
    every = [*having, *_missing(having, layout)]
    # Sorting is stable: rows of one size, which other settings name, keep their order.
    every.sort(key=lambda one: (*layout.place_of(one.row.method), one.number))
    return [one.row for one in every]


def _sized(row: RowRuns, sizes: Sequence[Sequence[str]]) -> _Sized:
    """Return a row with its size, whose settings begin the row's name, also where it is the only row."""
    method = next((run.config.get("method") or {} for run in row.begun), {})
    number, settings = len(sizes), []
    for place, size in enumerate(sizes):
        pairs = [one.partition("=")[::2] for one in size]
        known = [(name, value) for name, value in pairs if name in method]
        if known and all(text_of(normalised(method[name])) == value for name, value in known):
            number, settings = place, [f"{name}={value}" for name, value in known]
            break
    others = (one for one in _NEXT_SETTING.split(row.settings) if one and one not in settings)
    return _Sized(replace(row, settings=", ".join((*settings, *others))), number)


def _missing(having: Sequence[_Sized], layout: Layout) -> Iterator[_Sized]:
    """Yield an empty row for each method of the layout that has none, and for each size that has none."""
    present = {(one.row.method, one.number) for one in having}
    labels: dict[str, str] = {}
    for one in having:
        labels.setdefault(one.row.method, one.row.label)
    for method in (method for group in layout.methods for method in group):
        sizes = layout.sizes.get(method, ())
        if not sizes and method in labels:
            continue
        label = labels[method] if method in labels else label_of("methods", method)
        for number, size in enumerate(sizes or ((),)):
            if (method, number) not in present:
                yield _Sized(RowRuns(method, label, ", ".join(size)), number)


def printed_names(rows: Sequence[RowRuns]) -> list[str]:
    """Return each row's label, followed by the method's name where rows of two methods are printed alike.

    A label is in no key, so that rows of one method may have several.
    """
    methods: dict[str, set[str]] = {}  # printed label -> the methods that have it
    for row in rows:
        methods.setdefault(plain(row.label), set()).add(row.method)
    names = {row.method: row.method.replace("_", r"\_") for row in rows}
    return [
        f"{row.label} [{names[row.method]}]" if len(methods[plain(row.label)]) > 1 else row.label
        for row in rows
    ]
