"""Claims that the papers make about their methods (`claims.toml`), and what scores meet them.

Only the standard library and the project's errors are imported here: the claims are data. The functions
say which differences of scores a claim allows; `verdicts` tests them on records.
"""

import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "claims.toml"

ABOVE, COMPARABLE, NOT_BELOW = "above", "comparable", "not_below"
KINDS = (ABOVE, COMPARABLE, NOT_BELOW)

POINTS, PERCENT = "points", "percent"

AVERAGE = "average"
"""Name that stands for the task where a claim is about the mean over columns."""


@dataclass(frozen=True)
class Claim:
    """One comparison that a paper makes.

    Attributes:
        source: Section or table that makes it.
        table: Name of the table whose records decide it.
        kind: ABOVE (the method scores better), COMPARABLE (the two differ by at most the margin), or
            NOT_BELOW (the method is at most the margin worse).
        method: The method it is about.
        others: The methods it is compared with.
        margin: What the two may differ by, in `unit`; 0 for ABOVE.
        unit: POINTS, or PERCENT of the other method's score.
        average: Whether it is about the mean over the columns instead of each of them.
        tasks: Tasks that it is about; none: every task of the table.
        metrics: Metrics that it is about; none: every metric of the table.
    """

    source: str
    table: str
    kind: str
    method: str
    others: tuple[str, ...]
    margin: float = 0.0
    unit: str = POINTS
    average: bool = False
    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"the claim of {self.source} in {FILE.name}"
        if self.kind not in KINDS:
            raise DataError(f"{where} must have a kind of {', '.join(KINDS)}, got {self.kind!r}.")
        if self.unit not in (POINTS, PERCENT):
            raise DataError(f"{where} must have the unit points or percent, got {self.unit!r}.")
        if (self.margin > 0) != (self.kind != ABOVE):
            raise DataError(
                f"{where} must have a margin above 0 unless its kind is {ABOVE}, got {self.margin}."
            )

    @property
    def allowed(self) -> str:
        """The margin in words, such as `1 point` or `5%`; empty for ABOVE."""
        if self.kind == ABOVE:
            return ""
        if self.unit == PERCENT:
            return f"{self.margin:g}%"
        return f"{self.margin:g} point{'' if self.margin == 1 else 's'}"

    def covers(self, task: str, metric: str | None) -> bool:
        """Return whether a column of the table is one that the claim is about."""
        return (not self.tasks or task in self.tasks) and (
            not self.metrics or metric in self.metrics
        )

    def bounds(self, other: float, sign: int = 1) -> tuple[float, float]:
        """Return the least and the greatest difference of scores that meet the claim.

        The difference is the method's score less the other's. For ABOVE the bound 0 does not meet it.

        Args:
            other: The other method's score.
            sign: 1 where the greater score is the better one, -1 where the lesser is.
        """
        margin = self.margin * abs(other) / 100 if self.unit == PERCENT else self.margin
        least, most = -margin, margin if self.kind == COMPARABLE else inf
        return (least, most) if sign > 0 else (-most, -least)

    def is_met(self, own: float, other: float, sign: int = 1) -> bool:
        """Return whether two scores meet the claim, without regard to chance."""
        least, most = self.bounds(other, sign)
        if self.kind == ABOVE:
            return sign * (own - other) > 0
        return least <= own - other <= most


def scaled(values: tuple[float, ...], claim: Claim, other: float) -> tuple[float, ...]:
    """Return scores of one column as an average over columns takes them.

    They stay as they are in points; with PERCENT they are percent of the other method's mean score.
    """
    if claim.unit == POINTS:
        return values
    return tuple(100 * value / other for value in values)


@lru_cache(maxsize=1)
def claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the file.

    Raises:
        DataError: If an entry lacks a key or has an unknown one, or a value is none of those allowed.
    """
    return tuple(map(_claim, tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]))


def _claim(entry: dict[str, Any]) -> Claim:
    known = {one.name for one in fields(Claim)}
    if unknown := sorted(set(entry) - known):
        raise DataError(f"a claim in {FILE.name} must have only the keys {known}, got {unknown}.")
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    try:
        return Claim(**{**entry, **lists})
    except TypeError as error:
        raise DataError(
            f"a claim in {FILE.name} must have source, table, kind, method and others, got {entry}."
        ) from error
