"""Table: one table with everything known about it, as a tree and as a DataFrame of its cells.

    Table                      one table of a paper, or of one suite, backbone and data source
    └── sections: Section      one backbone: ranks across tasks, verdicts on claims
        └── lines: Line        one method with one set of settings: its parameters
            └── cells: Cell    one column: runs, spread, interval, comparison with the best, published score

Nothing here computes a statistic; `tables` makes the tree from runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter, methodcaller
from statistics import median
from typing import Any

import pandas as pd

from pedro_bench.analysis.cells import Cell, Column, Tested
from pedro_bench.analysis.comparison import Ranks
from pedro_bench.analysis.papers import REPEATS, SEEDS, Layout, PublishedScore, plain
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.selection import Selection

COSTS: Mapping[str, tuple[Callable[[Run], Any], Callable[[Sequence[float]], float]]] = {
    "train_seconds": (attrgetter("timing.train_seconds"), median),
    "train_tokens_per_second": (attrgetter("timing.tokens_per_second"), median),
    "gpu_joules": (methodcaller("joules", "gpu"), median),
    "processor_joules": (methodcaller("joules", "processors"), median),
    "peak_bytes": (attrgetter("memory.peak_bytes"), max),
    "adapter_bytes": (attrgetter("memory.adapter_bytes"), max),
    "method_operations": (attrgetter("method_operations"), max),
    "forgotten": (attrgetter("forgotten"), median),
}
"""What runs cost -> where it is in a run, and what is shown of several runs."""

_COMMIT = attrgetter("environment.commit")
_COUNTS = frozenset({
    "matrices", "trainable", "interval_examples", "place", "examples_from_best", "peak_bytes",
    "adapter_bytes", "method_operations",
})  # fmt: skip


@dataclass
class Line:
    """One row: a method with one set of settings.

    Attributes:
        method: The method's name.
        label: Its printed name, in LaTeX; no other method of its section has it.
        settings: Settings in which it differs from the method's other rows, such as `r=12`.
        group: Number of its group in the layout; a rule separates two groups.
        matrices: Entries that the papers count, None where no record has them.
        trainable: Everything the optimiser updates, likewise.
        cells: One for each column of the table.
        published_only: The paper's numbers in columns that only the paper has.
    """

    method: str
    label: str
    settings: str
    group: int
    matrices: int | None
    trainable: int | None
    cells: Sequence[Cell] = ()
    published_only: Sequence[PublishedScore | None] = ()

    @property
    def name(self) -> str:
        """The method with its settings, in plain text."""
        return f"{self.method} [{self.settings}]" if self.settings else self.method

    @property
    def costs(self) -> dict[str, float | None]:
        """What a run of the row costs, over its tasks and seeds; a run counts once for several metrics."""
        runs = {id(run): run for cell in self.cells for run in cell.shown}
        return costs_of(list(runs.values()))


SUPPORTED, CONTRADICTED = "supported", "contradicted"
NOT_SEPARABLE, NOT_TESTABLE = "not separable", "not testable"


@dataclass(frozen=True)
class Verdict:
    """What the records say of one claim.

    Attributes:
        source: Section or table that makes the claim.
        kind: `above`, `comparable` or `not_below`.
        method: Printed name of the method that the claim is about; `other` is the one it names.
        task: Printed name of the task, `average` where the claim is about the mean over columns.
        verdict: SUPPORTED, CONTRADICTED, NOT_SEPARABLE or NOT_TESTABLE, with the `reason` of the last.
        tested: The comparison, None where not testable.
        margin: What two methods may differ by, such as `1 point`; empty for `above`.
        sign: 1 where the greater score is the better one, -1 where the lesser is.
    """

    source: str
    kind: str
    method: str
    other: str
    task: str
    verdict: str
    tested: Tested | None
    reason: str = ""
    margin: str = ""
    sign: int = 1


@dataclass(frozen=True)
class Section:
    """One backbone's part of a table: its rows, its average ranks by `Line.name`, its verdicts."""

    backbone: str
    label: str
    is_micro: bool
    lines: Sequence[Line]
    ranks: Ranks | None = None
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """One table.

    Attributes:
        name: File name without ending.
        suite: Suite of the records.
        data: Name of the data source.
        layout: The paper's table that it fills, None where there is none.
        columns: Columns of all sections.
        sections: One for each backbone.
        published_columns: Columns that only the paper has.
        over: What medians are over: `seeds`, or `repeats` of a measurement.
    """

    name: str
    suite: str
    data: str
    layout: Layout | None
    columns: Sequence[Column]
    sections: Sequence[Section]
    published_columns: Sequence[Column] = ()
    over: str = SEEDS

    @property
    def measures_device(self) -> bool:
        """Whether its numbers are repeats of a measurement, the device's as much as the method's."""
        return self.over == REPEATS

    @property
    def each(self) -> str:
        """One of what medians are over: `seed` or `repeat`."""
        return self.over.removesuffix("s")

    @property
    def is_micro(self) -> bool:
        """Whether backbone or data are the embedded ones."""
        return any(section.is_micro for section in self.sections)

    @property
    def places(self) -> Iterator[tuple[Section, Line, Cell]]:
        """Yield every cell that is planned, with its section and row."""
        for section in self.sections:
            for line in section.lines:
                for cell in line.cells:
                    if cell.is_planned:
                        yield section, line, cell

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a cell, every number at full precision; a missing value is one that does not exist.

        `interval_examples` and `examples_from_best` are the test examples that the interval and the
        comparison with the best were made over, 0 where that was over seeds alone. `key`, `run_seeds`,
        `run_scores`, `records` (under the results_dir) and `commits` lead back to the runs.
        """
        return _frame([_row(self, *place) for place in self.places])

    @property
    def costs(self) -> pd.DataFrame:
        """What the runs of each cell cost, one row a cell: COSTS."""
        return _frame([costs_of(cell.shown) for _, _, cell in self.places])


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return pd.DataFrame(
        {
            name: pd.array(values, dtype="Int64") if name in _COUNTS else values
            for name, values in columns.items()
        }
    )


def _row(table: Table, section: Section, line: Line, cell: Cell) -> dict[str, Any]:
    spread, interval, tested = cell.spread, cell.interval, cell.from_best
    published, scored = cell.published, cell.scored
    numbers = ("median", "least", "lower_quartile", "upper_quartile", "greatest", "deviation")
    return {
        "backbone": section.backbone,
        "data": table.data,
        "micro": section.is_micro,
        "method": line.method,
        "label": plain(line.label),
        "settings": line.settings,
        "matrices": line.matrices,
        "trainable": line.trainable,
        "task": cell.column.task,
        "metric": cell.column.metric,
        "status": cell.status,
        "seeds": spread.seeds if spread else 0,
        **{name: getattr(spread, name) if spread else None for name in numbers},
        "interval_low": interval.low if interval else None,
        "interval_high": interval.high if interval else None,
        "interval_examples": interval.examples if interval else None,
        "place": cell.place or None,
        "difference_from_best": tested.comparison.difference if tested else None,
        "p_from_best": tested.p if tested else None,
        "examples_from_best": tested.comparison.examples if tested else None,
        "published": published.value if published else None,
        "published_source": published.source if published else None,
        "difference_from_published": cell.difference,
        "failed": len(cell.runs.get(Selection.FAILED, ())),
        "dirty": cell.dirty,
        "key": scored[0].key if scored else None,
        "run_seeds": " ".join(str(run.seed) for run in scored),
        "run_scores": " ".join(f"{run.scores[cell.column.metric or '']:.10g}" for run in scored),
        "records": " ".join(run.record for run in scored),
        "commits": " ".join(
            dict.fromkeys(run.environment.commit for run in scored if run.environment.commit)
        ),
    }


def costs_of(runs: Sequence[Run]) -> dict[str, float | None]:
    """Return the COSTS of some runs, None where no record has one."""
    found: dict[str, float | None] = {}
    for name, (get, whole) in COSTS.items():
        values = [value for value in map(get, runs) if value is not None]
        found[name] = whole(values) if values else None
    return found


def most_parameters(runs: Sequence[Run], kind: str) -> int | None:
    """Return `matrices` or `trainable` of some runs, the greatest where tasks differ (a search)."""
    return max((run.parameters[kind] for run in runs if kind in run.parameters), default=None)
