"""Evidence: the scores of single test examples behind a cell, from its runs' predictions.

What cannot be had is said, never guessed: a cell whose predictions are gone, changed since they were
recorded, or without scores is compared over seeds alone, and predictions that were recorded and cannot be
had any more are named under the table.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from pedro_bench.reporting.comparison import Comparison, compare_examples, compare_seeds
from pedro_bench.reporting.conditions import Conditions, conditions_of, hindrance
from pedro_bench.reporting.evaluations import SCORED
from pedro_bench.reporting.report import EXACT
from pedro_bench.reporting.stored import Run


@dataclass(frozen=True)
class Evidence:
    """What a cell's runs scored.

    Attributes:
        values: One score a seed.
        examples: Scores (seeds, examples), or None.
        test_rows: Fingerprint of the test rows that the examples are.
        reason: Why there are no scores of examples, else empty.
        is_lost: Whether that is because recorded predictions are gone, changed or unreadable.
        is_exact: Whether values that agree have no chance in them.
        conditions: What the runs were made under, which is compared only with its like.
    """

    values: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    test_rows: str | None = None
    reason: str = ""
    is_lost: bool = False
    is_exact: bool = False
    conditions: Conditions | None = None


class _Row(msgspec.Struct):
    index: int
    score: float | None = None


_FOLDERS = frozenset({"predictions", *SCORED.values()})
"""Folders beside a record that may hold scores of its examples."""

_DECODER = msgspec.json.Decoder(_Row)


def evidence_of(runs: Sequence[Run], metric: str, *, is_measured: bool = False) -> Evidence:
    """Collect the scores of a cell's finished runs.

    Args:
        runs: Finished runs of one cell.
        metric: The column's metric; runs without it are left out.
        is_measured: Whether they are repeats of a measurement of the device.
    """
    having = [run for run in runs if metric in run.scores]
    found = Evidence(
        tuple(run.scores[metric] for run in having),
        is_exact=metric in EXACT,
        conditions=conditions_of(having, is_measured=is_measured),
    )
    if any(run.main_metric != metric for run in having):
        return replace(found, reason=f"examples have no {metric} of their own")
    if len({run.test_rows for run in having}) > 1:
        return replace(found, reason="seeds were scored on different test rows")
    if not all(run.predictions for run in having):
        return replace(found, reason="predictions were not recorded")
    rows, lost = _rows(having)
    if lost:
        return replace(found, reason=lost, is_lost=True)
    if any(None in row for row in rows):
        return replace(found, reason="predictions hold no scores of single examples")
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return replace(found, reason="there are no two examples that all seeds answered")
    return replace(found, examples=np.array(rows, dtype=np.float64), test_rows=having[0].test_rows)


def compare(a: Evidence, b: Evidence) -> Comparison | str:
    """Compare two cells over seeds and examples, or over seeds alone where there is no more.

    Returns:
        The comparison of `a` less `b`, or why it is impossible.
    """
    if len(a.values) < 2 or len(b.values) < 2:
        return "a comparison needs two finished runs of each method"
    if reason := hindrance(a.conditions, b.conditions):
        return reason
    same_rows = a.test_rows == b.test_rows and _num_examples(a) == _num_examples(b)
    if a.examples is not None and b.examples is not None and same_rows:
        return compare_examples(a.examples, b.examples)
    return compare_seeds(a.values, b.values, is_exact=a.is_exact and b.is_exact)


def _num_examples(evidence: Evidence) -> int:
    return 0 if evidence.examples is None else evidence.examples.shape[1]


def _rows(runs: Sequence[Run]) -> tuple[list[list[float | None]], str]:
    """Return the scores of every run in order of its rows, and which predictions cannot be had."""
    rows = []
    lost: dict[str, list[str]] = {}
    for run in runs:
        found = _scores(run)
        if isinstance(found, str):
            lost.setdefault(found, []).append(str(run.seed))
        else:
            rows.append(found)
    what = [f"the predictions of seed {', '.join(seeds)} are {why}" for why, seeds in lost.items()]
    return rows, " and ".join(what)


def _scores(run: Run) -> list[float | None] | str:
    """Return the score of every example in order of rows, or what its predictions are instead."""
    recorded = run.predictions or {}
    folder, _, name = recorded.get("path", "").partition("/")
    if folder not in _FOLDERS or "/" in name or name == "..":
        return "not in the folder predictions"
    try:
        content = (run.path.parent / folder / name).read_bytes()
    except OSError:
        return "gone"
    if hashlib.sha256(content).hexdigest() != recorded.get("sha256"):
        return "not those that were recorded"
    try:
        rows = _DECODER.decode_lines(content)
    except msgspec.MsgspecError:
        return "not JSON lines with index and score"
    return [row.score for row in sorted(rows, key=lambda row: row.index)]
