"""Curves: loss on the dev split over training, of every finished run behind a column of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pedro_bench.errors import RecordError
from pedro_bench.reporting.labels import told_apart
from pedro_bench.reporting.points import label_of
from pedro_bench.reporting.report import Section
from pedro_bench.reporting.statistics import median

Series = tuple[tuple[float, float], ...]
"""(optimiser step, loss), in order of steps."""


@dataclass(frozen=True)
class Curve:
    """One row's curves on one task.

    Attributes:
        method: The method's name.
        name: Its printed name with settings, in plain text.
        seeds: Seed -> its series.
        median: At each step that every seed reached, the median over seeds; seeds that stopped early
            end the curve, as what follows would be of other seeds.
    """

    method: str
    name: str
    seeds: dict[int, Series]
    median: Series


class _History(msgspec.Struct):
    history: list[dict[str, float | int | str | bool | None]] = []


_DECODER = msgspec.json.Decoder(_History)


def task_curves(section: Section) -> dict[str, tuple[Curve, ...]]:
    """Return printed task -> its curves, for every task that has any; once for several metrics."""
    found: dict[str, tuple[Curve, ...]] = {}
    for place, column in enumerate(section.columns):
        if column.label not in found and (own := curves(section, place)):
            found[column.label] = own
    return found


def curves(section: Section, column: int) -> tuple[Curve, ...]:
    """Return the curves of a column's rows, without those that recorded none.

    Raises:
        RecordError: If a record cannot be read any more.
    """
    found = []
    for line in told_apart(section).lines:
        seeds = {run.seed: _series(run.path) for run in line.entries[column].finished}
        recorded = {seed: series for seed, series in seeds.items() if series}
        if recorded:
            name = label_of(line.label, line.settings)
            found.append(Curve(line.method, name, recorded, _median(list(recorded.values()))))
    return tuple(found)


def _series(path: Path) -> Series:
    try:
        entries = _DECODER.decode(path.read_bytes()).history
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(f"record {path} must hold a readable history, got {error}.") from error
    pairs = ((entry.get("step"), entry.get("dev_loss")) for entry in entries)
    return tuple(
        (float(step), float(loss))
        for step, loss in pairs
        if isinstance(step, int | float) and isinstance(loss, int | float)
    )


def _median(series: Sequence[Series]) -> Series:
    losses = [dict(one) for one in series]
    shared = [step for step, _ in series[0] if all(step in one for one in losses)]
    return tuple((step, median([one[step] for one in losses])) for step in shared)
