"""Evidence: the scores of single test examples behind a cell, from its runs' predictions.

What cannot be had is said, never guessed: a cell whose predictions are gone, changed since they were
recorded, or without scores is compared over seeds alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pedro_bench.reporting.comparison import Comparison, compare_examples, compare_seeds
from pedro_bench.reporting.stored import Run


@dataclass(frozen=True)
class Evidence:
    """What a cell's runs scored.

    Attributes:
        values: One score a seed.
        examples: Scores (seeds, examples), or None.
        test_rows: Fingerprint of the test rows that the examples are.
        reason: Why there are no scores of examples, else empty.
    """

    values: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    test_rows: str | None = None
    reason: str = ""


class _Row(msgspec.Struct):
    index: int
    score: float | None = None


_DECODER = msgspec.json.Decoder(_Row)


def evidence_of(runs: Sequence[Run], metric: str) -> Evidence:
    """Collect the scores of a cell's finished runs.

    Args:
        runs: Finished runs of one cell.
        metric: The column's metric; runs without it are left out.
    """
    having = [run for run in runs if metric in run.scores]
    values = tuple(run.scores[metric] for run in having)
    if any(run.main_metric != metric for run in having):
        return Evidence(values, reason=f"examples have no {metric} of their own")
    if len({run.test_rows for run in having}) > 1:
        return Evidence(values, reason="seeds were scored on different test rows")
    rows = []
    for run in having:
        found = _scores(run)
        if isinstance(found, str):
            return Evidence(values, reason=found)
        rows.append(found)
    if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return Evidence(values, reason="there are no two examples that all seeds answered")
    return Evidence(values, np.array(rows, dtype=np.float64), having[0].test_rows)


def compare(a: Evidence, b: Evidence) -> Comparison | str:
    """Compare two cells over seeds and examples, or over seeds alone where there is no more.

    Returns:
        The comparison of `a` less `b`, or why it is impossible.
    """
    if len(a.values) < 2 or len(b.values) < 2:
        return "a comparison needs two finished seeds of each method"
    if a.examples is None or b.examples is None:
        return compare_seeds(a.values, b.values)
    same_rows = a.test_rows == b.test_rows and a.examples.shape[1] == b.examples.shape[1]
    return (
        compare_examples(a.examples, b.examples) if same_rows else compare_seeds(a.values, b.values)
    )


def _scores(run: Run) -> list[float] | str:
    """Return the score of every example in order of rows, or why there are none."""
    if not run.predictions:
        return "predictions were not recorded"
    path = run.path.parent / run.predictions.get("path", "")
    try:
        content = path.read_bytes()
    except OSError:
        return f"the predictions of seed {run.seed} are gone"
    if hashlib.sha256(content).hexdigest() != run.predictions.get("sha256"):
        return f"the predictions of seed {run.seed} are not those that were recorded"
    try:
        rows = _DECODER.decode_lines(content)
    except msgspec.MsgspecError:
        return f"the predictions of seed {run.seed} are not JSON lines with index and score"
    scores = [row.score for row in sorted(rows, key=lambda row: row.index)]
    known = [score for score in scores if score is not None]
    return known if len(known) == len(scores) else "predictions hold no scores of single examples"
