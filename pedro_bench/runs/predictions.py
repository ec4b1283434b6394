"""Predictions: what a finished run said to every test example, with each example's own score.

    {"index": row of the split, "prediction": answer, "text": what was generated, "score": percent}

Where answers were ranked, `likelihood` is the likeliest candidate. `score` is the example's share in the
task's main metric: the mean of all scores is that metric. Where the task says that its main metric is no
mean over examples (Matthews, Pearson, BLEU), there is no such share, and rows have no `score`.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from pedro_bench.evaluation.prediction import Prediction
from pedro_bench.protocols.task import Example, Task

_AGREES = 1e-9
"""Relative difference up to which the mean of the examples' scores is the metric."""


def prediction_lines(task: Task, found: Prediction, examples: Sequence[Example]) -> str:
    """Return the predictions file: one JSON object a line, in order of the split's rows."""
    rows: list[dict[str, Any]] = [
        {"index": index, "prediction": answer, "text": text}
        for index, (answer, text) in enumerate(zip(found.answers, found.texts, strict=True))
    ]
    if found.ranked is not None:
        rows = [{**row, "likelihood": one} for row, one in zip(rows, found.ranked, strict=True)]
    shares = example_scores(task, found.answers, examples, found.scores[task.main_metric])
    if shares is not None:
        rows = [{**row, "score": score} for row, score in zip(rows, shares, strict=True)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def example_scores(
    task: Task, answers: Sequence[str], examples: Sequence[Example], total: float
) -> list[float] | None:
    """Score every example alone with the task's own metric.

    Args:
        task: The task, whose `score` is called with one example at a time.
        answers: One answer an example.
        examples: The examples, at least one.
        total: The main metric of all of them.

    Returns:
        One score an example, in the metric's unit; None where the task says that its main metric is no
        mean over examples, or where the mean of them is not `total` although it does.
    """
    if not task.is_mean_over_examples:
        return None
    scores = [
        float(task.score([answer], [example])[task.main_metric])
        for answer, example in zip(answers, examples, strict=True)
    ]
    mean = math.fsum(scores) / len(scores)
    return scores if math.isclose(mean, total, rel_tol=_AGREES, abs_tol=_AGREES) else None
