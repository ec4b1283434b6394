"""Examples: the scores of single test examples of a cell's runs, read from their predictions.

They are there where every seed answered the same test rows, the task scores single examples, and the mean of
the scores is the score in the record. Of a cell without them the reason is kept, and whether something that
was recorded cannot be had any more: predictions that are gone, or changed since, or a record that was changed
so that they do not make its score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np
from numpy.typing import NDArray

from pedro_bench.analysis.reading import example_scores
from pedro_bench.analysis.run import Run

_AGREE = {"rel_tol": 1e-6, "abs_tol": 1e-6}
"""How near the mean of the scores of examples is to the score that was recorded of them."""


@dataclass(frozen=True)
class Examples:
    """The scores of the examples of some runs, or why there are none.

    Attributes:
        scores: Scores (seeds, examples) in order of the test rows, or None.
        reason: Why there are none, else empty.
        is_lost: Whether recorded predictions cannot be had any more.
    """

    scores: NDArray[np.float64] | None = None
    reason: str = ""
    is_lost: bool = False


def examples_of(runs: Sequence[Run], metric: str) -> Examples:
    """Return the scores of the examples of finished runs, one run a seed, which all have the metric."""
    if reason := _why_none_recorded(runs, metric):
        return Examples(reason=reason)
    scores_of_seeds: list[list[float | None]] = []
    seeds_without: dict[str, list[str]] = {}  # what their predictions are -> seeds
    for run in runs:
        found = example_scores(run)
        if isinstance(found, str):
            seeds_without.setdefault(found, []).append(str(run.seed))
        else:
            scores_of_seeds.append(found)
    if seeds_without:
        lost = [f"{_predictions(seeds)} are {what}" for what, seeds in seeds_without.items()]
        return Examples(reason=" and ".join(lost), is_lost=True)
    if any(None in own for own in scores_of_seeds):
        return Examples(reason="predictions hold no scores of single examples")
    if len({len(own) for own in scores_of_seeds}) != 1 or len(scores_of_seeds[0]) < 2:
        return Examples(reason="there are no two examples that all seeds answered")
    scores = np.array(scores_of_seeds, dtype=np.float64)
    if off := _seeds_off_the_record(runs, metric, scores):
        reason = f"{_predictions(off)} have another {metric} than the record"
        return Examples(reason=reason, is_lost=True)
    return Examples(scores)


def _why_none_recorded(runs: Sequence[Run], metric: str) -> str:
    """Return why the records alone say that there are no scores, empty where they do not."""
    if any(run.main_metric != metric for run in runs):
        return f"examples have no {metric} of their own"
    if len({run.fingerprint("test") for run in runs}) > 1:
        return "seeds were scored on different test rows"
    if not all(run.predictions for run in runs):
        return "predictions were not recorded"
    return ""


def _seeds_off_the_record(
    runs: Sequence[Run], metric: str, scores: NDArray[np.float64]
) -> list[str]:
    """Return the seeds whose recorded score is not the mean of the scores of their examples."""
    return [
        str(run.seed)
        for run, mean in zip(runs, scores.mean(axis=1), strict=True)
        if not isclose(mean, run.scores[metric], **_AGREE)
    ]


def _predictions(seeds: Sequence[str]) -> str:
    return f"the predictions of seed {', '.join(seeds)}"
