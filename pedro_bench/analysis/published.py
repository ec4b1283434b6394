"""Published: the papers' own numbers, one row each, with the place they are printed in.

`published_scores.csv` holds PEDRO (Xie et al.), Tables 1-5; RED (Wu et al. 2024), Tables 1-7, 16 and 18;
and two tables of the lecture on prefix tuning and LoRA. `published_parameters.csv` holds how many
parameters the papers say that their methods train; a row may name a method that has no YAML here. Methods,
backbones, tasks and metrics go by the names of this project where it has them (so RED's "Adapter" is
`houlsby_adapter`, and its LoRA, whose rank and places differ from PEDRO's, is `lora_red…`). The papers'
numbers do not all agree with each other; they are kept as printed.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pedro_bench.errors import DataError

PARAMETERS = Path(__file__).parent / "published_parameters.csv"
SCORES = Path(__file__).parent / "published_scores.csv"

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}


class Published(NamedTuple):
    """One published number of parameters.

    Attributes:
        method: Name of the method's YAML; `backbone` likewise.
        paper: Short name of the paper; `table` is its table.
        params: The number as printed, such as `9.4M`.
        setting: The method's size as the paper gives it, empty where it gives none.
        note: A sentence on how the paper counts, or empty.
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

    def agrees(self, entries: int) -> bool:
        """Whether a count may have been rounded, up or down, to the published digits."""
        decimals = len(self.params[:-1].partition(".")[2])
        last_digit: float = _UNITS[self.params[-1]] / 10**decimals
        return abs(entries - self.entries) <= last_digit


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
    """Read all published numbers of parameters, in the order of the papers' tables.

    Raises:
        DataError: If the file has other columns, or a number cannot be read.
    """
    found = tuple(Published(*row) for row in _rows(file, Published._fields))
    for one in found:
        one.entries  # noqa: B018 - what is no number raises here
    return found


@lru_cache(maxsize=4)
def published_scores(file: Path = SCORES) -> tuple[PublishedScore, ...]:
    """Read all published scores, in the order of the papers' tables.

    Raises:
        DataError: If the file has other columns, or a number cannot be read.
    """
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
