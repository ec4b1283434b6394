"""Cells: the scores of one method in one column, and what they say of it against the best there.

The scores of single test examples come from predictions. A cell whose predictions are gone, changed since
they were recorded, without scores, or whose record was changed so that they do not make its score is compared
over seeds alone, and the reason is kept.

Best and second are decided on two decimals, as they are shown, among the cells with the most seeds of their
column; FULL_SEEDS and more count alike. A cell with fewer is neither: a median of one seed is often the
highest by chance. Where a single cell has the most and others have fewer, the column has no best. Every
other cell is compared with the best one (the first of several that share the best median), and the p values
of the column are corrected together, after Holm. Which cell is the best is read from the scores that are
then compared, so the family is that of all pairs: k (k - 1) / 2 for k cells with a score, not the k - 1
comparisons that are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pedro_bench.analysis.comparability import reason_against
from pedro_bench.analysis.comparison import (
    ALPHA,
    Difference,
    compare_examples,
    compare_seeds,
    holm,
)
from pedro_bench.analysis.conditions import Conditions, conditions_of
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.papers import PublishedScore, label_of
from pedro_bench.analysis.reading import example_scores
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection
from pedro_bench.analysis.statistics import (
    Interval,
    Spread,
    example_intervals,
    seed_interval,
    spread,
)

FULL_SEEDS = 5
"""Seeds that a cell should have."""

LOWER_IS_BETTER = frozenset({"memory_mib"})
"""Metrics of which the least is the best, whatever the task says of its main metric."""

EXACT = frozenset({"memory_mib"})
"""Metrics without chance where repeats agree; elsewhere scores agree because they are coarse."""


_AGREE = {"rel_tol": 1e-6, "abs_tol": 1e-6}
"""How near the mean of the scores of examples is to the score that was recorded of them."""


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
    values: tuple[float, ...] = ()
    examples: NDArray[np.float64] | None = None
    reason: str = ""
    is_lost: bool = False
    conditions: Conditions | None = None
    spread: Spread | None = None
    interval: Interval | None = None
    place: int = 0
    short_of: int = 0
    from_best: Tested | None = None
    untested: str = ""
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
    cell.conditions = conditions_of(scored, is_measured=is_measured)
    if scored:
        cell.values = tuple(run.scores[column.metric or ""] for run in scored)
        cell.spread = spread(cell.values)
        cell.reason = _add_examples(cell, scored)
    return cell


def _add_examples(cell: Cell, runs: Sequence[Run]) -> str:
    """Add the scores of examples to a cell, or return why there are none."""
    if any(run.main_metric != cell.column.metric for run in runs):
        return f"examples have no {cell.column.metric} of their own"
    if len({run.fingerprint("test") for run in runs}) > 1:
        return "seeds were scored on different test rows"
    if not all(run.predictions for run in runs):
        return "predictions were not recorded"
    rows, lost = _rows(runs)
    if lost:
        cell.is_lost = True
        return lost
    if any(None in row for row in rows):
        return "predictions hold no scores of single examples"
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return "there are no two examples that all seeds answered"
    scores = np.array(rows, dtype=np.float64)
    pairs = zip(runs, scores.mean(axis=1), cell.values, strict=True)
    if off := [str(run.seed) for run, mean, value in pairs if not isclose(mean, value, **_AGREE)]:
        cell.is_lost = True
        return f"the predictions of seed {', '.join(off)} have another {cell.column.metric} than the record"
    cell.examples = scores
    return ""


def _rows(runs: Sequence[Run]) -> tuple[list[list[float | None]], str]:
    """Return the scores of every run in order of its rows, and which predictions cannot be had."""
    rows = []
    lost: dict[str, list[str]] = {}
    for run in runs:
        found = example_scores(run)
        if isinstance(found, str):
            lost.setdefault(found, []).append(str(run.seed))
        else:
            rows.append(found)
    what = [f"the predictions of seed {', '.join(seeds)} are {why}" for why, seeds in lost.items()]
    return rows, " and ".join(what)


def compare(a: Cell, b: Cell) -> Difference | str:
    """Compare two cells over seeds and examples, or over seeds alone where there is no more.

    Returns:
        The comparison of `a` less `b`, or why it is impossible.
    """
    if len(a.values) < 2 or len(b.values) < 2:
        return "a comparison needs two finished runs of each method"
    if reason := reason_against(a.conditions, b.conditions):
        return reason
    if a.examples is not None and b.examples is not None and _rows_of(a) == _rows_of(b):
        return compare_examples(a.examples, b.examples)
    return compare_seeds(a.values, b.values, is_exact=a.column.metric in EXACT)


def _rows_of(cell: Cell) -> tuple[str | None, int]:
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


def judge(cells: Sequence[Cell]) -> None:
    """Write into the cells of one column their places, intervals and comparisons with the best."""
    sign = cells[0].column.sign if cells else 1
    scored = [cell for cell in cells if cell.spread is not None]
    needed = min(FULL_SEEDS, max((len(cell.values) for cell in scored), default=0))
    for cell in scored:
        cell.short_of = needed if len(cell.values) < needed else 0
    _add_intervals(scored)
    ranked = [cell for cell in scored if not cell.short_of]
    if len(ranked) == 1 < len(scored):
        return
    shown = {id(cell): sign * round(median_of(cell), 2) for cell in ranked}
    best_two = sorted(set(shown.values()), reverse=True)[:2]
    for cell in ranked:
        own = shown[id(cell)]
        cell.place = best_two.index(own) + 1 if own in best_two else 0
    if ranked:
        _test(scored, max(ranked, key=lambda cell: sign * median_of(cell)))


def _test(cells: Sequence[Cell], best: Cell) -> None:
    """Compare cells with the best of them, corrected for all pairs."""
    found = [(cell, compare(cell, best)) for cell in cells if cell is not best]
    tested = [(cell, own) for cell, own in found if isinstance(own, Difference)]
    corrected = holm([own.p for _, own in tested], len(cells) * (len(cells) - 1) // 2)
    for (cell, own), p in zip(tested, corrected, strict=True):
        cell.from_best = Tested(own, p, p < ALPHA)
    for cell, reason in found:
        if isinstance(reason, str):
            cell.untested = reason


def _add_intervals(cells: Sequence[Cell]) -> None:
    """Write every cell's interval; cells with the same number of examples share the draws."""
    sizes: dict[int, dict[str, Cell]] = {}
    for number, cell in enumerate(cells):
        if cell.examples is None:
            cell.interval = seed_interval(cell.values)
        else:
            sizes.setdefault(cell.num_examples, {})[str(number)] = cell
    for own in sizes.values():
        scores = {name: one.examples for name, one in own.items() if one.examples is not None}
        for name, interval in example_intervals(scores).items():
            own[name].interval = interval


def median_of(cell: Cell) -> float:
    """Return the median of a cell with a score."""
    assert cell.spread is not None
    return cell.spread.median
