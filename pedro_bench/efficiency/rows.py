"""Rows: what the records of one contestant say together. Records are read and nothing else; no torch."""

import statistics
from collections.abc import Sequence
from typing import Any

from pedro_bench import records
from pedro_bench.records import RunRecord


def row_of(found: Sequence[RunRecord]) -> dict[str, Any]:
    """Return one contestant's medians over its repeats, and the spread of its speed.

    Args:
        found: Its finished records, at least one.
    """
    speeds = [one.metrics["test"]["tokens_per_second"] for one in found]

    def middle(name: str) -> float:
        return float(statistics.median(one.timing[name] for one in found))

    return {
        "method": found[0].method,
        **found[0].config["contestant"],
        "tokens_per_second": float(statistics.median(speeds)),
        "slowest": min(speeds),
        "fastest": max(speeds),
        "first_token_seconds": middle("first_token_seconds"),
        "seconds_per_token": middle("step_seconds"),
        "bandwidth_share": middle("bandwidth_share"),
        "peak_bytes": int(statistics.median(int(one.memory["peak_bytes"]) for one in found)),
        "repeats": len(found),
    }


def rows_since(results_dir: str, suite: str, started: str) -> list[dict[str, Any]]:
    """Return the rows of comparisons that began at a time or later, whole or stopped before their end.

    Args:
        results_dir: Root of the records.
        suite: Folder of the records.
        started: Time in ISO 8601, UTC, to the second.
    """
    read = [records.read(path) for path in records.find(results_dir, suite)]
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for one in read:
        if one.status == "finished" and one.started >= started:
            groups.setdefault((one.key, one.method, one.task), []).append(one)
    return [row_of(group) for group in groups.values()]
