"""Published: how many parameters the papers say that their methods train, with the place they say it.

`published_parameters.csv` has one row a number, in the order of the papers' tables: the method by the
name of its YAML, the backbone by its, and the setting that the paper gives. A row may name a method
that has no YAML here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "published_parameters.csv"

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class Published:
    """One published number of parameters.

    Attributes:
        method: Name of the method's YAML.
        backbone: Name of the backbone's YAML.
        paper: Short name of the paper.
        table: Its table.
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

    def __post_init__(self) -> None:
        digits, unit = self.params[:-1], self.params[-1:]
        if unit not in _UNITS or not digits.replace(".", "", 1).isdecimal():
            raise DataError(
                f"params of {self.method} in {FILE.name} must be a number with K, M or B, got "
                f"{self.params!r}."
            )

    @property
    def source(self) -> str:
        """Where the number stands."""
        return f"{self.paper}, Table {self.table}"

    @property
    def entries(self) -> float:
        """The number in parameters."""
        return float(self.params[:-1]) * _UNITS[self.params[-1]]

    def agrees(self, entries: int) -> bool:
        """Whether a count may have been rounded, up or down, to the published digits."""
        decimals = len(self.params[:-1].partition(".")[2])
        last_digit: float = _UNITS[self.params[-1]] / 10**decimals
        return abs(entries - self.entries) <= last_digit


def published_parameters(file: Path = FILE) -> tuple[Published, ...]:
    """Read all published numbers, in the order of the papers' tables.

    Raises:
        DataError: If the file has other columns, or a number cannot be read.
    """
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, strict=True))
    columns = list(Published.__dataclass_fields__)
    for row in rows:
        if list(row) != columns or None in row.values():
            raise DataError(
                f"{file.name} must have the columns {', '.join(columns)} in every row, got {row!r}."
            )
    return tuple(Published(**row) for row in rows)


def in_published_order(names: tuple[str, ...]) -> list[str]:
    """Sort names of methods as the papers' tables do; those that no table has come last, by name."""
    places: dict[str, int] = {}
    for place, one in enumerate(published_parameters()):
        places.setdefault(one.method, place)
    return sorted(names, key=lambda name: (name not in places, places.get(name, 0), name))
