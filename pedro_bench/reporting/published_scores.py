"""Published scores: the papers' own numbers, one row each, with the place they stand.

`published_scores.csv` holds PEDRO (Xie et al.), Tables 1-5; RED (Wu et al. 2024), Tables 1-7, 16 and 18;
and two tables of the lecture on prefix tuning and LoRA. Methods, backbones, tasks and metrics go by the
names of this project where it has them (so RED's "Adapter" is `houlsby_adapter`, and its LoRA, whose
rank and places differ from PEDRO's, is `lora_red…`). The papers' numbers do not all agree with each
other; they stand as printed.
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pedro_bench.errors import DataError

FILE = Path(__file__).parent / "published_scores.csv"

COLUMNS = (
    "paper", "table", "backbone", "method", "params", "task", "metric", "value", "deviation",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedScore:
    """One published number.

    Attributes:
        paper: Short name of the paper.
        table: Its table.
        backbone: Name of the backbone.
        method: Name of the method.
        params: The method's parameters as printed, such as `8.9M`; empty where not given.
        task: Name of the task.
        metric: Name of the metric.
        printed: The number as printed, such as `93.0`.
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
    deviation: float | None

    @property
    def value(self) -> float:
        """The number."""
        return float(self.printed)

    @property
    def source(self) -> str:
        """Where the number stands."""
        return f"{self.paper}, Table {self.table}"


@lru_cache(maxsize=4)
def published_scores(file: Path = FILE) -> tuple[PublishedScore, ...]:
    """Read all published scores, in the order of the papers' tables.

    Raises:
        DataError: If the file has other columns, or a number cannot be read.
    """
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened, strict=True))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise DataError(f"{file.name} must have the columns {', '.join(COLUMNS)}, got {rows[:1]}.")
    return tuple(
        _score(f"{file.name}:{number}", row) for number, row in enumerate(rows[1:], start=2)
    )


def published_of(paper: str, table: str) -> dict[tuple[str, str, str, str], PublishedScore]:
    """Return one table's numbers by (backbone, method, task, metric)."""
    return {
        (one.backbone, one.method, one.task, one.metric): one
        for one in published_scores()
        if (one.paper, one.table) == (paper, table)
    }


def _score(place: str, row: list[str]) -> PublishedScore:
    try:
        paper, table, backbone, method, params, task, metric, printed, deviation = row
        float(printed)  # what is no number raises here
        spread = float(deviation) if deviation else None
    except ValueError as error:
        raise DataError(f"{place} must hold names, a value and a deviation, got {row}.") from error
    return PublishedScore(paper, table, backbone, method, params, task, metric, printed, spread)
