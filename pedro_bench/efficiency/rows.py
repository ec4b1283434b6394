"""Rows: what the records of one system say together. Records are read and nothing else; no torch."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pedro_bench import records
from pedro_bench.records import RunRecord


def row_of(found: Sequence[RunRecord]) -> dict[str, Any]:
    """Return one system's medians over its repeats, the spread of its speed, and each repeat's.

    Args:
        found: Its finished records, at least one.
    """
    speeds = {str(one.seed): float(one.metrics["test"]["tokens_per_second"]) for one in found}

    def middle(name: str) -> float:
        return float(statistics.median(one.timing[name] for one in found))

    return {
        "method": found[0].method,
        **found[0].config["system"],
        "tokens_per_second": float(statistics.median(speeds.values())),
        "slowest": min(speeds.values()),
        "fastest": max(speeds.values()),
        "first_token_seconds": middle("first_token_seconds"),
        "seconds_per_token": middle("step_seconds"),
        "bandwidth_share": middle("bandwidth_share"),
        "peak_bytes": _bytes(found, "peak_bytes"),
        "reserved_bytes": _bytes(found, "reserved_bytes"),
        "bytes_per_tenant": _bytes(found, "bytes_per_tenant"),
        "repeats": len(found),
        "speeds": speeds,
        "processor_seconds": {str(one.seed): one.timing["processor_seconds"] for one in found},
    }


def ratio(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ratio of two rows' speeds: the median over pairs of repeats.

    Turns go forwards in repeats 0, 2, … and backwards in 1, 3, …, so repeats 0 and 1, 2 and 3, … make
    pairs. A pair's ratio is the geometric mean of the ratios within its two repeats: who is faster only
    because its turn comes first gains in one what it loses in the other. A repeat without its other half
    counts as it is.

    Args:
        above: The row above the line.
        below: The row below it.

    Returns:
        `ratio`, its `lowest` and `highest` value over pairs, their number `pairs`, `interval`: where the
        median lies with 95% confidence (None below six pairs), and `of_processor_time`: the ratio by the
        process's processor time. None if the rows share no repeat: memory or time may end a row early.
    """
    shared = [repeat for repeat in above["speeds"] if repeat in below["speeds"]]
    if not shared:
        return None
    ratios = _paired(
        {repeat: above["speeds"][repeat] / below["speeds"][repeat] for repeat in shared}
    )
    times = _paired(
        {
            repeat: below["processor_seconds"][repeat] / above["processor_seconds"][repeat]
            for repeat in shared
        }
    )
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "pairs": len(ratios),
        "interval": _interval(ratios),
        "of_processor_time": statistics.median(times),
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


def _paired(ratios: Mapping[str, float]) -> list[float]:
    """Return the geometric mean of each pair of neighbouring repeats, by the repeats' numbers."""
    pairs: dict[int, list[float]] = {}
    for repeat, one in ratios.items():
        pairs.setdefault(int(repeat) // 2, []).append(one)
    return [statistics.geometric_mean(pair) for _, pair in sorted(pairs.items())]


def _interval(values: Sequence[float]) -> list[float] | None:
    """Return the two values between which a sign test puts the median at 95%; None where there are none."""
    ordered, count = sorted(values), len(values)
    left_out, tail = 0, 0.0
    while (tail := tail + math.comb(count, left_out) / 2**count) <= 0.025:
        left_out += 1
    return [ordered[left_out - 1], ordered[count - left_out]] if left_out else None


def _bytes(found: Sequence[RunRecord], name: str) -> int | None:
    """Return the median of a field of memory; None where it is not known."""
    known = [int(one.memory[name]) for one in found if one.memory.get(name) is not None]
    return int(statistics.median(known)) if known else None
