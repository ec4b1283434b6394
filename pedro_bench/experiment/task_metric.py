"""A task's official scoring behind `evaluate`'s `Metric`, to stand where a metric of the Hub would.

    metric = pedro_bench.metric("squad")
    metric.add_batch(predictions=["in Oslo"], references=[["Oslo", "in Oslo"]])
    metric.compute()                       # {"f1_em": …, "f1": …, "em": …} in percent

`evaluate.load` fetches a script at run time; this needs no network. Predictions may run on after the
answer, as generated text does: the task takes its answer out of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import evaluate
from datasets import Features, Value
from datasets import Sequence as ListOf

from pedro_bench.errors import DataError
from pedro_bench.protocols.task import Example, Task


class TaskMetric(evaluate.Metric):  # type: ignore[misc]  # `evaluate` is not typed
    """`add`, `add_batch` and `compute` of `evaluate.Metric` for one task.

    Features: `predictions` are texts; `references` are lists of texts (all gold answers of a row), or
    single texts. `compute` also takes `candidates`, the closed set of each row's answers, where a task
    has another set for every row; without it the share of `invalid` answers is left out there.

    Args:
        task: Whose scoring it is.
        options: Passed on to `evaluate.Metric`, such as `keep_in_memory` or `experiment_id`.
    """

    def __init__(self, task: Task, **options: Any) -> None:
        self._task = task
        super().__init__(config_name=task.name, **options)

    def _info(self) -> evaluate.MetricInfo:
        text = Value("string")
        return evaluate.MetricInfo(
            description=f"The official scoring of {self._task.label}, in percent.",
            citation="",
            inputs_description="predictions: texts; references: texts or lists of texts",
            features=[
                Features({"predictions": text, "references": ListOf(text)}),
                Features({"predictions": text, "references": text}),
            ],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str | Sequence[str]],
        candidates: Sequence[Sequence[str]] | None = None,
    ) -> Mapping[str, float]:
        if candidates is not None and len(candidates) != len(predictions):
            raise DataError(
                f"candidates must have one set for each of the {len(predictions)} predictions, got "
                f"{len(candidates)}."
            )
        closed = candidates or [self._task.answers] * len(predictions)
        examples = [
            _example(row, golds, known)
            for row, (golds, known) in enumerate(zip(references, closed, strict=True))
        ]
        answers = [
            self._task.extract(text, one) for text, one in zip(predictions, examples, strict=True)
        ]
        scores = self._task.score(answers, examples)
        if self._task.is_closed and not all(closed):
            scores.pop("invalid", None)
        return scores


def _example(row: int, golds: str | Sequence[str], candidates: Sequence[str]) -> Example:
    """Return an example that has golds and candidates only: scoring looks at nothing else."""
    allowed = (golds,) if isinstance(golds, str) else tuple(golds)
    if not allowed:
        raise DataError("references must have at least one gold answer for each row, got none.")
    return Example((), allowed[0], allowed, str(row), tuple(candidates))
