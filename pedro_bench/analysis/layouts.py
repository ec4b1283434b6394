"""Layouts: the papers' tables as data (`layouts.toml`): methods, tasks and backbones in their order."""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "layouts.toml"

MICRO = "micro"
"""Name of the embedded backbone and of its data; suites of micro tables begin with it."""

STAND_INS = {"meteor_1.5": "meteor_exact_stem"}
"""Metric of a table -> what a run has where it could not be computed; the paper has no such number."""

SEEDS, REPEATS = "seeds", "repeats"
"""What medians are over: trained runs, or repeats of a measurement."""


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a paper.

    Attributes:
        name: Its name, that of its experiment and of the suite of its records.
        paper: Short name of the paper; `table` is the number there, and `title` what it shows.
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
    sizes: dict[str, tuple[tuple[str, ...], ...]] = {}

    @property
    def measures_device(self) -> bool:
        """Whether the numbers are the device's as much as the method's."""
        return self.over == REPEATS

    def group_of(self, method: str) -> int:
        """Return the number of the group that a method is in, behind all where the table lacks it."""
        found = (number for number, group in enumerate(self.methods) if method in group)
        return next(found, len(self.methods))

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
        DataError: If the file lacks a key, or has an unknown one.
    """
    try:
        found = msgspec.convert([_entry(one) for one in _content()["table"]], list[Layout])
    except (KeyError, msgspec.ValidationError) as error:
        raise DataError(
            f"a table in {FILE.name} must have the keys of a layout, got {error}."
        ) from error
    return {one.name: one for one in found}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    columns = {key: list(map(_column, entry.get(key, ()))) for key in ("columns", "published")}
    sizes = {
        method: [size.split(", ") for size in own] for method, own in entry.get("sizes", {}).items()
    }
    return {**entry, **columns, "sizes": sizes}


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
