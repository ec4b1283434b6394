"""Report: one table with everything known about it, as one tree that every renderer reads.

    Report                     one table: name, caption, notes, what is missing
    └── sections: Section      one backbone: columns, ranks across tasks, verdicts on claims
        └── lines: Line        one method with one set of settings: its parameters
            └── entries: Entry one task: spread, interval, comparison with the best, published number

Nothing here computes; `build` makes the tree from records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pedro_bench.reporting.comparison import Comparison
from pedro_bench.reporting.intervals import Interval
from pedro_bench.reporting.layouts import label_of
from pedro_bench.reporting.published_scores import PublishedScore
from pedro_bench.reporting.ranks import Ranks
from pedro_bench.reporting.statistics import Spread
from pedro_bench.reporting.stored import Run

FULL_SEEDS = 5
"""Seeds that a cell should have; fewer are shown beside its number."""

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NOT_SEPARABLE, NOT_TESTABLE = "not separable", "not testable"

LOWER_IS_BETTER = frozenset({"memory_mib"})
"""Metrics of which the least is the best."""

EXACT = frozenset({"memory_mib"})
"""Metrics without chance where repeats agree; elsewhere scores agree because they are coarse."""


@dataclass(frozen=True)
class Column:
    """One column: a task and one of its metrics.

    Attributes:
        task: The task's name.
        label: Its printed name.
        metric: The metric's key, None where neither a record nor the layout names one.
    """

    task: str
    label: str
    metric: str | None

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
        return -1 if self.metric in LOWER_IS_BETTER else 1

    @property
    def scale(self) -> str:
        """What an axis of its scores is called: `acc`, or `memory_mib, lower is better`."""
        return (self.metric or "score") + (", lower is better" if self.sign < 0 else "")


@dataclass(frozen=True)
class Tested:
    """A comparison with its p corrected for the number of comparisons made with it."""

    comparison: Comparison
    p: float
    separates: bool


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        finished: Finished runs, in order of seeds.
        failed: Failed runs whose seed has no finished one.
        unfinished: Runs begun and neither finished nor failed, likewise.
        superseded: Keys of older groups of runs that are not shown.
        overtaking: Failed and unfinished runs that are newer than the finished ones of their seeds.
        replaced: Number of older evaluations of the same runs that are not shown.
        outdated: Number of evaluations that are not shown because their runs are not.
        lost: Which recorded predictions cannot be had any more, else empty.
        spread: The scores of the finished runs, None where there is none.
        interval: 95% bootstrap interval of the median, None under two seeds.
        place: 1 for the best of its column, 2 for the second, else 0; equal numbers share a place.
        from_best: Comparison of this cell less the best one, None for the best and where impossible.
        untested: Why that is impossible, else empty.
        published: The paper's number for this backbone, method and task.
        is_comparable: Whether `published` is of this section's backbone and data, not micro, and not a
            device's, so that a difference has a meaning.
    """

    finished: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    unfinished: tuple[Run, ...] = ()
    superseded: tuple[str, ...] = ()
    overtaking: tuple[Run, ...] = ()
    replaced: int = 0
    outdated: int = 0
    lost: str = ""
    spread: Spread | None = None
    interval: Interval | None = None
    place: int = 0
    from_best: Tested | None = None
    untested: str = ""
    published: PublishedScore | None = None
    is_comparable: bool = False

    @property
    def dirty(self) -> int:
        """Number of finished runs that were made with uncommitted code."""
        return sum(bool(run.dirty) for run in self.finished)

    @property
    def status(self) -> str:
        """`finished` with all seeds, `partial` with some, else `failed`, `unfinished` or `missing`."""
        if self.spread is not None:
            return "finished" if self.spread.seeds >= FULL_SEEDS else "partial"
        if self.failed:
            return "failed"
        return "unfinished" if self.unfinished else "missing"

    @property
    def difference(self) -> float | None:
        """Our median less the published number, where both are of one backbone."""
        if self.spread is None or self.published is None or not self.is_comparable:
            return None
        return self.spread.median - self.published.value


@dataclass(frozen=True)
class Line:
    """One row: a method with one set of settings.

    Attributes:
        method: The method's name.
        label: Its printed name, in LaTeX.
        settings: Settings in which it differs from the method's other rows.
        group: Number of its group in the layout; a rule stands between two groups.
        matrices: Entries that the papers count, None where no record has them.
        trainable: Everything the optimiser updates, likewise.
        entries: One for each column of the section.
        published_only: The paper's numbers in columns that only the paper has.
    """

    method: str
    label: str
    settings: tuple[str, ...]
    group: int
    matrices: int | None
    trainable: int | None
    entries: tuple[Entry, ...]
    published_only: tuple[PublishedScore | None, ...] = ()

    @property
    def name(self) -> str:
        """The method with its settings, in plain text."""
        return f"{self.method} [{', '.join(self.settings)}]" if self.settings else self.method


@dataclass(frozen=True)
class Verdict:
    """What the records say of one claim.

    Attributes:
        source: Where the claim stands.
        kind: `above`, `comparable` or `not_below`.
        method: Printed name of the method that the claim is about; `other` is the one it names.
        other: Printed name of the other method.
        task: Printed name of the task, `average` where the claim is about the mean over columns.
        verdict: SUPPORTED, CONTRADICTED, NOT_SEPARABLE or NOT_TESTABLE.
        tested: The comparison, None where not testable.
        reason: Why it is not testable, else empty.
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
    """One backbone's part of a table.

    Attributes:
        backbone: Name of the backbone.
        label: Its printed name.
        is_micro: Whether backbone or data are the embedded ones.
        columns: Columns, in order.
        lines: Rows, in order.
        published_columns: Columns that only the paper has.
        ranks: Average ranks by `Line.name`, None where there is nothing to rank.
        verdicts: One for each claim, method and task.
    """

    backbone: str
    label: str
    is_micro: bool
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    published_columns: tuple[Column, ...] = ()
    ranks: Ranks | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Report:
    """One table.

    Attributes:
        name: File name without ending.
        suite: Suite of the records.
        data: Name of the data source.
        caption: What it shows, in plain text; marked where it is micro.
        sections: One for each backbone.
        notes: Sentences on failed, unfinished, superseded and uncommitted runs, and on the paper.
        missing: `row on task` for every cell without a finished run.
        over: What medians are over: `seeds`, or `repeats` of a measurement.
    """

    name: str
    suite: str
    data: str
    caption: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]
    over: str = "seeds"


def on_backbone(section: Section, sections: Sequence[Section]) -> str:
    """Return ` (backbone)`, to follow a row's name where a report has several sections, else nothing."""
    return f" ({section.backbone})" if len(sections) > 1 else ""
