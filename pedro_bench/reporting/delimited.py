"""CSV: a report as one row for each cell, with every number at full precision and nothing left out.

`interval_examples` and `examples_from_best` are the test examples that the interval and the comparison
with the best were made over, 0 where that was over seeds alone.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

from pedro_bench.reporting.cells import plain
from pedro_bench.reporting.report import Column, Entry, Line, Report, Section

COLUMNS = (
    "backbone", "data", "micro", "method", "label", "settings", "matrices", "trainable", "task",
    "metric", "status", "seeds", "median", "least", "lower_quartile", "upper_quartile", "greatest",
    "deviation", "interval_low", "interval_high", "interval_examples", "place", "difference_from_best",
    "p_from_best", "examples_from_best", "published", "published_source", "difference_from_published",
    "failed", "dirty",
)  # fmt: skip


def comma_separated(report: Report) -> str:
    """Return a report's cells as CSV; an empty field is a number that does not exist."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for section, line, column, entry in _cells(report):
        writer.writerow(
            {
                **_names(report, section, line, column),
                **_numbers(entry),
                **_comparisons(entry),
            }
        )
    return text.getvalue()


def _cells(report: Report) -> Iterator[tuple[Section, Line, Column, Entry]]:
    for section in report.sections:
        for line in section.lines:
            for column, entry in zip(section.columns, line.entries, strict=True):
                yield section, line, column, entry


def _names(report: Report, section: Section, line: Line, column: Column) -> dict[str, Any]:
    return {
        "backbone": section.backbone,
        "data": report.data,
        "micro": section.is_micro,
        "method": line.method,
        "label": plain(line.label),
        "settings": ", ".join(line.settings),
        "matrices": line.matrices,
        "trainable": line.trainable,
        "task": column.task,
        "metric": column.metric,
    }


def _numbers(entry: Entry) -> dict[str, Any]:
    found = {
        "status": entry.status,
        "seeds": entry.spread.seeds if entry.spread else 0,
        "failed": len(entry.failed),
        "dirty": entry.dirty,
        "place": entry.place or None,
    }
    if entry.spread is not None:
        names = ("median", "least", "lower_quartile", "upper_quartile", "greatest", "deviation")
        found |= {name: _number(getattr(entry.spread, name)) for name in names}
    if entry.interval is not None:
        found["interval_low"] = _number(entry.interval.low)
        found["interval_high"] = _number(entry.interval.high)
        found["interval_examples"] = entry.interval.examples
    return found


def _comparisons(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if entry.from_best is not None:
        found["difference_from_best"] = _number(entry.from_best.comparison.difference)
        found["p_from_best"] = _number(entry.from_best.p)
        found["examples_from_best"] = entry.from_best.comparison.examples
    if entry.published is not None:
        found["published"] = _number(entry.published.value)
        found["published_source"] = entry.published.source
    if entry.difference is not None:
        found["difference_from_published"] = _number(entry.difference)
    return found


def _number(value: float | None) -> str:
    """Return ten digits, so that the last bits of another machine's arithmetic do not show."""
    return "" if value is None else f"{value:.10g}"
