"""Cells: what one method has in one column of a table, and how two cells are compared.

A cell is filled in three steps, each by another module:

1. From the runs of one row on one task: those that are shown give one score a seed, the median with its
   spread, the scores of single test examples (`examples`) and the `conditions` they were made under
   (`cell_of`, here).
2. From the other cells of its column: place, interval, and the comparison with the best (`judging`).
3. From the paper, where the table is one: the published number, and whether ours may be compared with it
   (`sections`).

Two cells are compared over seeds and examples where both have scores of the same examples, else over seeds
alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pedro_bench.analysis.comparability import reason_against
from pedro_bench.analysis.comparison import Difference, compare_examples, compare_seeds
from pedro_bench.analysis.conditions import Conditions, conditions_of
from pedro_bench.analysis.examples import examples_of
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.papers import PublishedScore, label_of
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection
from pedro_bench.analysis.statistics import Interval, Spread, spread

FULL_SEEDS = 5
"""Seeds that a cell should have."""

LOWER_IS_BETTER = frozenset({"memory_mib"})
"""Metrics of which the least is the best, whatever the task says of its main metric."""

EXACT = frozenset({"memory_mib"})
"""Metrics without chance where repeats agree; elsewhere scores agree because they are coarse."""


@dataclass(frozen=True)
class Column:
    """One column: a task with its printed name, and one of its metrics (None where nothing names one).

    `lower_is_better`: the task says so of its main metric, which this is.
    """

    task: str
    label: str
    metric: str | None
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """Printed name and metric."""
        if not self.metric:
            return self.label
        printed = label_of("metrics", self.metric)
        return f"{self.label} ({printed})" if printed == self.metric else f"{self.label} {printed}"

    @property
    def sign(self) -> int:
        """1 where the greatest score is the best, -1 where the least is."""
        return -1 if self.lower_is_better or self.metric in LOWER_IS_BETTER else 1

    @property
    def scale(self) -> str:
        """What an axis of its scores is called: `acc`, or `memory_mib, lower is better`."""
        return (self.metric or "score") + (", lower is better" if self.sign < 0 else "")


@dataclass(frozen=True)
class Tested:
    """A comparison with its p corrected for the number of comparisons made with it."""

    comparison: Difference
    p: float
    separates: bool


@dataclass
class Cell:
    """One cell.

    Attributes:
        column: Its column.
        runs: Selection (`analysis.selection`) -> runs, in order of seeds.
        is_planned: Whether the layout or the records of this backbone have the column.
        values: The metric of the runs that are shown, one a seed.
        examples: Scores (seeds, examples) in order of the test rows, or None.
        reason: Why there are none, else empty; `is_lost` where recorded predictions cannot be had any more.
        conditions: What the runs were made under, which is compared only with its like.
        spread: The values described, None where there is none.
        interval: 95% bootstrap interval of the median, None below five seeds.
        place: 1 for the best of its column, 2 for the second, else 0; equal numbers share a place.
        short_of: Seeds that other cells of its column have and it lacks, so that it has no place and no rank;
            the number it would need, 0 where it has enough.
        from_best: Difference of this cell less the best one, None for the best and where impossible.
        untested: Why that is impossible, else empty.
        published: The paper's number for this backbone, method and task.
        departures: In what the runs are not by the paper's protocol, `name=value`.
        is_comparable: Whether `published` is of this section's backbone and data, not micro, not a
            device's, and of runs by the paper's protocol, so that a difference has a meaning.
    """

    column: Column
    runs: Mapping[Selection, Sequence[Run]] = field(default_factory=dict)
    is_planned: bool = True
    # From its runs, by `cell_of`.
    values: tuple[float, ...] = ()
    examples: NDArray[np.float64] | None = None
    reason: str = ""
    is_lost: bool = False
    conditions: Conditions | None = None
    spread: Spread | None = None
    # From the other cells of its column, by `judging.judge`.
    interval: Interval | None = None
    place: int = 0
    short_of: int = 0
    from_best: Tested | None = None
    untested: str = ""
    # From the paper, by `sections.section_of`.
    published: PublishedScore | None = None
    departures: Sequence[str] = ()
    is_comparable: bool = False

    @property
    def shown(self) -> Sequence[Run]:
        """The finished runs that are shown."""
        return self.runs.get(Selection.SHOWN, ())

    @property
    def scored(self) -> list[Run]:
        """Those of them that have the column's metric: one for each value of the spread."""
        return [run for run in self.shown if self.column.metric in run.scores]

    @property
    def num_examples(self) -> int:
        """Number of test examples with a score, 0 where there is none."""
        return 0 if self.examples is None else self.examples.shape[1]

    @property
    def dirty(self) -> int:
        """Number of shown runs that were made with uncommitted code."""
        return sum(bool(run.environment.dirty) for run in self.shown)

    @property
    def status(self) -> str:
        """`finished` with all seeds, `partial` with some, else `failed`, `unfinished` or `missing`."""
        if self.spread is not None:
            return "finished" if self.spread.seeds >= FULL_SEEDS else "partial"
        if self.runs.get(Selection.FAILED):
            return "failed"
        return "unfinished" if self.runs.get(Selection.UNFINISHED) else "missing"

    @property
    def difference(self) -> float | None:
        """Our median less the published number, where both are comparable."""
        if self.spread is None or self.published is None or not self.is_comparable:
            return None
        return self.spread.median - self.published.value


def cell_of(
    column: Column,
    runs: Mapping[Selection, Sequence[Run]],
    *,
    is_planned: bool = True,
    is_measured: bool = False,
) -> Cell:
    """Return a cell with its scores; shown runs without the column's metric have no part in them.

    `is_planned`: the layout or the records of this backbone have the column. `is_measured`: runs are repeats
    of a measurement of the device.
    """
    cell = Cell(column, runs, is_planned)
    scored = cell.scored
    if not scored:
        return cell
    metric = column.metric or ""
    cell.values = tuple(run.scores[metric] for run in scored)
    cell.spread = spread(cell.values)
    cell.conditions = conditions_of(scored, is_measured=is_measured)
    found = examples_of(scored, metric)
    cell.examples, cell.reason, cell.is_lost = found.scores, found.reason, found.is_lost
    return cell


def compare(a: Cell, b: Cell) -> Difference | str:
    """Compare two cells over seeds and examples, or over seeds alone where there is no more.

    Returns:
        The comparison of `a` less `b`, or why it is impossible.
    """
    if len(a.values) < 2 or len(b.values) < 2:
        return "a comparison needs two finished runs of each method"
    if reason := reason_against(a.conditions, b.conditions):
        return reason
    if a.examples is not None and b.examples is not None and _answered(a) == _answered(b):
        return compare_examples(a.examples, b.examples)
    return compare_seeds(a.values, b.values, is_exact=a.column.metric in EXACT)


def _answered(cell: Cell) -> tuple[str | None, int]:
    """Return the fingerprint and the number of the test rows that a cell has scores of."""
    runs = cell.scored
    return runs[0].fingerprint("test") if runs else None, cell.num_examples


def compare_frames(a: pd.DataFrame, b: pd.DataFrame, metric: str | None = None) -> Difference | str:
    """Compare two sets of finished runs of `results`, such as those of two methods on one task.

    Args:
        a: Rows of one method on one task: one row of a table, a run a seed.
        b: Rows of the other.
        metric: The metric; None is the runs' main metric.

    Returns:
        The comparison of `a` less `b`, its p not corrected, or why it is impossible.
    """
    first, second = ([run for run in runs_of(one) if run.status == "finished"] for one in (a, b))
    for name, runs in (("a", first), ("b", second)):
        if reason := _not_one_result(runs):
            return f"{name} must hold the seeds of one result, got {reason}"
    name = metric or next((run.main_metric for run in (*first, *second)), "")
    column = Column("", "", name)
    return compare(
        cell_of(column, {Selection.SHOWN: first}), cell_of(column, {Selection.SHOWN: second})
    )


def _not_one_result(runs: Sequence[Run]) -> str:
    """Return what makes runs more than the seeds of one result, empty where nothing does."""
    for name in ("method", "settings", "task", "backbone", "data", "suite", "key"):
        values = dict.fromkeys(str(getattr(run, name)) for run in runs)
        if len(values) > 1:
            return f"{name} {' and '.join(map(repr, values))}"
    seeds = [run.seed for run in runs]
    twice = [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    return f"several runs of seed {twice[0]}: choose those that are `shown`" if twice else ""
