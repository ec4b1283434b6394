"""Layouts: the papers' tables as data (`layouts.toml`): methods, tasks and backbones in their order."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "layouts.toml"

MICRO = "micro"
"""Name of the embedded backbone and of its data; suites of micro tables begin with it."""

STAND_INS = {"meteor_1.5": "meteor_exact_stem"}
"""Metric of a table -> what a run has where it could not be computed; the paper has no such number."""

SEEDS, REPEATS = "seeds", "repeats"
"""What medians are over: trained runs, or repeats of a measurement."""


@dataclass(frozen=True)
class Layout:
    """One table of a paper.

    Attributes:
        name: Its name, that of its experiment and of the suite of its records.
        paper: Short name of the paper.
        table: Its table there.
        title: What it shows.
        backbones: Backbones in the paper's order, one section each.
        columns: (task, metric) in the paper's order; a metric of None is the task's main metric.
        methods: Groups of methods in the paper's order.
        notes: Sentences that follow it.
        published: (task, metric) of columns that only the paper has.
        over: What a median is over, SEEDS or REPEATS.
        sizes: Method -> settings of each of its rows, from the smallest, such as `r=3`.
    """

    name: str
    paper: str
    table: str
    title: str
    backbones: tuple[str, ...]
    columns: tuple[tuple[str, str | None], ...]
    methods: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    published: tuple[tuple[str, str | None], ...] = ()
    over: str = SEEDS
    sizes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @property
    def measures_device(self) -> bool:
        """Whether the numbers are the device's as much as the method's."""
        return self.over == REPEATS

    def group_of(self, method: str) -> int | None:
        """Return the number of the group that a method is in, or None where the table lacks it."""
        for number, group in enumerate(self.methods):
            if method in group:
                return number
        return None

    def place_of(self, method: str) -> tuple[int, str]:
        """Return what sorts methods as the table does; those it lacks come last, by name."""
        order = [name for group in self.methods for name in group]
        return (order.index(method) if method in order else len(order), method)


def layout_of(suite: str) -> Layout | None:
    """Return the layout that a suite's records fill (`table1` and `micro_table1`: Table 1), if any."""
    return layouts().get(suite.removeprefix(f"{MICRO}_"))


@lru_cache(maxsize=1)
def layouts() -> Mapping[str, Layout]:
    """Return all layouts by name, in the order of the file.

    Raises:
        DataError: If the file lacks a key.
    """
    found = {}
    for entry in _content()["table"]:
        try:
            found[entry["name"]] = Layout(
                name=entry["name"],
                paper=entry["paper"],
                table=entry["table"],
                title=entry["title"],
                backbones=tuple(entry["backbones"]),
                columns=tuple(map(_column, entry["columns"])),
                methods=tuple(map(tuple, entry["methods"])),
                notes=tuple(entry["notes"]),
                published=tuple(map(_column, entry.get("published", ()))),
                over=entry.get("over", SEEDS),
                sizes={
                    method: tuple(tuple(size.split(", ")) for size in own)
                    for method, own in entry.get("sizes", {}).items()
                },
            )
        except KeyError as error:
            raise DataError(
                f"a table in {FILE.name} must have the key {error.args[0]!r}, got {sorted(entry)}."
            ) from error
    return found


def label_of(kind: str, name: str) -> str:
    """Return the printed name of a method, task, metric or backbone (`kind` in the plural), or its name."""
    return str(_content()[kind].get(name, name))


def plain(label: str) -> str:
    """Return a LaTeX label without its markup: `(IA)$^3$` becomes `(IA)^3`."""
    return re.sub(r"\\[A-Za-z]+|[${}]", "", re.sub(r"\\([&%#_])", r"\1", label))


def _column(text: str) -> tuple[str, str | None]:
    task, _, metric = text.partition(":")
    return task, metric or None


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
