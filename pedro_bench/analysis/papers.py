"""The papers' tables (`layouts.toml`: methods, tasks, backbones in their order) and published numbers.

`published_scores.csv` holds PEDRO (Xie et al.), Tables 1-5; RED (Wu et al. 2024), Tables 1-7, 16 and 18;
and two tables of the lecture on prefix tuning and LoRA, one row a number, with the place where it is printed.
`published_parameters.csv` holds how many parameters the papers say that their methods train; a row may name
a method that has no YAML here. Methods, backbones, tasks and metrics have this project's names where it has
them (RED's "Adapter" is `houlsby_adapter`; its LoRA, whose rank and places differ from PEDRO's, is
`lora_red…`). The papers' numbers do not all agree with each other; they are kept as printed.
"""

import csv
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "layouts.toml"

MICRO = "micro"
"""Name of the embedded backbone and of its data."""

SMALL = "small"
"""What the suites of tables on a small real backbone begin with; those of the embedded one with MICRO."""
ON_GPU = "_gpu"
"""What a suite of either kind ends in whose experiment is made for a GPU."""

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
        records: The table whose runs fill it too, evaluated otherwise; empty where it has its own.
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
    records: str = ""

    def group_of(self, method: str) -> int:
        """Return the number of the group that a method is in, behind all where the table lacks it."""
        found = (number for number, group in enumerate(self.methods) if method in group)
        return next(found, len(self.methods))

    def place_of(self, method: str) -> tuple[int, str]:
        """Return what sorts methods as the table does; those it lacks come last, by name."""
        order = [name for group in self.methods for name in group]
        return (order.index(method) if method in order else len(order), method)


def layout_of(suite: str) -> Layout | None:
    """Return the layout that a suite fills, if any: `table1`, `micro_table1`, `small_table1_gpu`."""
    kind, _, rest = suite.partition("_")
    return layouts().get(rest.removesuffix(ON_GPU) if kind in (MICRO, SMALL) else suite)


def sharing(layout: Layout) -> list[Layout]:
    """Return the other tables that the runs of a table fill, in the order of the file."""
    return [one for one in layouts().values() if one.records == layout.name]


def suite_of(table: str) -> str:
    """Return the suite whose records fill a table: that of its own name, unless its layout has another.

    `red_table18` is of the suite `red_table4`, and `micro_red_table18` of `micro_red_table4`.
    """
    layout = layout_of(table)
    if layout is None or not layout.records:
        return table
    return table.replace(layout.name, layout.records)


def is_small(suite: str) -> bool:
    """Whether a suite has a table's methods on a small real backbone and some of its tasks."""
    return suite.startswith(f"{SMALL}_") and layout_of(suite) is not None


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


def distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Return name -> printed name, followed by the name itself where another is printed alike."""
    counts = Counter(labels.values())
    return {
        name: f"{label} [{name}]" if counts[label] > 1 else label for name, label in labels.items()
    }


def _column(text: str) -> tuple[str, str | None]:
    task, _, metric = text.partition(":")
    return task, metric or None


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


PARAMETERS = Path(__file__).parent / "published_parameters.csv"
SCORES = Path(__file__).parent / "published_scores.csv"

COUNTING_ALL = ("RED",)
"""Papers that count biases too: RED's adapter of rank 1 has 0.07M with them, 0.05M without."""

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}


class Published(NamedTuple):
    """One published number of parameters of a method, `params` as printed, such as `9.4M`.

    `setting` is the method's size as the paper gives it; `note` is a sentence on how the paper counts; both
    may be empty. `method` and `backbone` are names of YAMLs, `paper` is a short name. A setting that reads
    `field = value, …` sets these fields of the method; any other text stands for the YAML's own sizes.
    """

    method: str
    backbone: str
    paper: str
    table: str
    params: str
    setting: str = ""
    note: str = ""

    @property
    def source(self) -> str:
        """Where the number is printed."""
        return f"{self.paper}, Table {self.table}"

    @property
    def entries(self) -> float:
        """The number in parameters.

        Raises:
            DataError: If `params` is no number with K, M or B.
        """
        digits, unit = self.params[:-1], self.params[-1:]
        if unit not in _UNITS or not digits.replace(".", "", 1).isdecimal():
            raise DataError(
                f"params of {self.method} in {PARAMETERS.name} must be a number with K, M or B, got "
                f"{self.params!r}."
            )
        return float(digits) * _UNITS[unit]

    @property
    def sizes(self) -> dict[str, int | None]:
        """Fields of the method that the setting names, with their values; empty for any other text."""
        pairs = [part.split(" = ") for part in self.setting.split(", ")]
        if not all(_is_size(pair) for pair in pairs):
            return {}
        return {name: None if value == "null" else int(value) for name, value in pairs}

    @property
    def counts_all(self) -> bool:
        """Whether the paper counts biases as well, not the matrices alone."""
        return self.paper in COUNTING_ALL

    def agrees(self, entries: int) -> bool:
        """Whether a count may have been rounded, up or down, to the published digits."""
        decimals = len(self.params[:-1].partition(".")[2])
        last_digit: float = _UNITS[self.params[-1]] / 10**decimals
        return abs(entries - self.entries) <= last_digit


def _is_size(pair: Sequence[str]) -> bool:
    return len(pair) == 2 and pair[0].isidentifier() and (pair[1] == "null" or pair[1].isdecimal())


class PublishedScore(NamedTuple):
    """One published score.

    Attributes:
        paper: Short name of the paper; `table` is its table.
        backbone: Name of the backbone; `method`, `task` and `metric` likewise.
        params: The method's parameters as printed, such as `8.9M`; empty where not given.
        printed: The number as printed, such as `93.0`; `value` is the number.
        deviation: Its standard deviation over seeds, where the paper gives one.
    """

    paper: str
    table: str
    backbone: str
    method: str
    params: str
    task: str
    metric: str
    printed: str
    value: float
    deviation: float | None

    @property
    def source(self) -> str:
        """Where the number is printed."""
        return f"{self.paper}, Table {self.table}"


Scores = Mapping[tuple[str, str, str, str], PublishedScore]
"""(backbone, method, task, metric) -> the paper's number."""


def published_parameters(file: Path = PARAMETERS) -> tuple[Published, ...]:
    """Read all published numbers of parameters, in the order of the papers' tables."""
    found = tuple(Published(*row) for row in _rows(file, Published._fields))
    for one in found:
        one.entries  # noqa: B018 - what is no number raises here
    return found


@lru_cache(maxsize=4)
def published_scores(file: Path = SCORES) -> tuple[PublishedScore, ...]:
    """Read all published scores, in the order of the papers' tables."""
    columns = [name for name in PublishedScore._fields if name != "printed"]
    found = []
    for number, row in enumerate(_rows(file, columns), start=2):
        paper, table, backbone, method, params, task, metric, printed, deviation = row
        try:
            value, spread = float(printed), float(deviation) if deviation else None
        except ValueError as error:
            raise DataError(
                f"{file.name}:{number} must hold names, a value and a deviation, got {row}."
            ) from error
        found.append(
            PublishedScore(
                paper, table, backbone, method, params, task, metric, printed, value, spread
            )
        )
    return tuple(found)


def _rows(file: Path, columns: Sequence[str]) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened, strict=True))
    for number, row in enumerate(rows or [[]], start=1):
        if len(row) != len(columns) or (number == 1 and row != list(columns)):
            raise DataError(
                f"{file.name}:{number} must have the columns {', '.join(columns)}, got {row}."
            )
    return rows[1:]


def published_of(paper: str, table: str) -> Scores:
    """Return one table's numbers by (backbone, method, task, metric)."""
    return {
        (one.backbone, one.method, one.task, one.metric): one
        for one in published_scores()
        if (one.paper, one.table) == (paper, table)
    }


def paper_score(
    scores: Scores, backbone: str, method: str, task: str, metric: str | None
) -> PublishedScore | None:
    """Return the paper's number; where the metric's key differs, the task's only number."""
    exact = scores.get((backbone, method, task, metric or ""))
    if exact is not None:
        return exact
    found = [one for key, one in scores.items() if key[:3] == (backbone, method, task)]
    return found[0] if len(found) == 1 else None


def in_published_order(names: tuple[str, ...]) -> list[str]:
    """Sort names of methods as the papers' tables do; those that no table has come last, by name."""
    places: dict[str, int] = {}
    for place, one in enumerate(published_parameters()):
        places.setdefault(one.method, place)
    return sorted(names, key=lambda name: (name not in places, places.get(name, 0), name))
