"""A task's official scoring behind `evaluate`'s `Metric`, to stand where a metric of the Hub would.

    metric = pedro_bench.metric("squad")
    metric.add_batch(predictions=["in Oslo"], references=[["Oslo", "in Oslo"]])
    metric.compute()                       # {"f1_em": …, "f1": …, "em": …} in percent

`evaluate.load` fetches a script at run time; this needs no network. Predictions may run on after the
answer, as generated text does: the task takes its answer out of them.
"""

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import Any

import evaluate
from datasets import Features, Value
from datasets import Sequence as ListOf

from pedro_bench import checks
from pedro_bench.data.prompt import match_candidate
from pedro_bench.errors import DataError
from pedro_bench.protocols.task import Example, Task


class TaskMetric(evaluate.Metric):  # type: ignore[misc]  # `evaluate` is not typed
    """`add`, `add_batch` and `compute` of `evaluate.Metric` for one task.

    `predictions` are texts; `references` are texts, or lists of texts (all gold answers of a row). In
    place of a text may stand a number where the task's answers are numbers, and the dictionaries of the
    Hub's `squad` metric, `{"id": …, "prediction_text": …}` and `{"id": …, "answers": {"text": […]}}`.
    Where the task has label words, references are those words, not the data set's own labels.

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
            features=Features({"predictions": text, "references": ListOf(text)}),
        )

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add one row.

        Raises:
            ConfigError: As `add_batch`.
        """
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Add rows; forms as in the class's docstring.

        Raises:
            ConfigError: If one of the two is no list.
            DataError: If they differ in number, or a row is of another form, without a gold answer, or with
                one that is none of the task's answers.
        """
        given = checks.items("predictions", predictions, "texts")
        golds = checks.items("references", references, "texts, or of lists of texts")
        if len(given) != len(golds):
            raise DataError(
                f"predictions and references must be as many, got {len(given)} and {len(golds)}."
            )
        for row, (one, other) in enumerate(zip(given, golds, strict=True)):
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                ids = one.get("id"), other.get("id")
                if ids[0] != ids[1]:
                    raise DataError(
                        f"predictions[{row}] and references[{row}] must have one id, got {ids[0]!r} "
                        f"and {ids[1]!r}: put both in the same order."
                    )
        super().add_batch(
            predictions=[self._prediction(row, one) for row, one in enumerate(given)],
            references=[self._golds(row, one) for row, one in enumerate(golds)],
        )

    def compute(
        self, *, predictions: Any = None, references: Any = None, candidates: Any = None
    ) -> dict[str, float] | None:
        """Score the rows that were added, and these.

        Args:
            predictions: As in `add_batch`, or None with `references`.
            references: As in `add_batch`.
            candidates: The closed set of each row's answers, where a task has another set for every row;
                without it the share of `invalid` answers is left out there.

        Returns:
            Name of each metric -> value in percent; None in a process that does not compute.

        Raises:
            ConfigError: As `add_batch`.
            DataError: As `add_batch`, or if there are no rows, or not a candidates' set for each.
        """
        if candidates is not None:
            sets = enumerate(checks.items("candidates", candidates, "lists of texts"))
            candidates = [checks.texts(f"candidates[{row}]", one) for row, one in sets]
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if self.writer is None:
            raise DataError("scoring must have at least one example, got none: add one first.")
        found: dict[str, float] | None = super().compute(candidates=candidates)
        return found

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]] | None = None,
    ) -> Mapping[str, float]:
        if candidates is not None and len(candidates) != len(predictions):
            raise DataError(
                f"candidates must have one set for each of the {len(predictions)} predictions, got "
                f"{len(candidates)}."
            )
        closed = candidates or [self._task.answers] * len(predictions)
        rows = enumerate(zip(references, closed, strict=True))
        # Scoring looks at golds and candidates only.
        examples = [
            Example((), golds[0], tuple(golds), str(row), tuple(known))
            for row, (golds, known) in rows
        ]
        answers = [
            # Of a set that is not known the golds are: case and punctuation decide as little as in a run.
            self._task.extract(text, one if one.candidates else replace(one, candidates=one.golds))
            for text, one in zip(predictions, examples, strict=True)
        ]
        scores = self._task.score(answers, examples)
        if self._task.is_closed and not all(closed):
            scores.pop("invalid", None)
        return scores

    def _prediction(self, row: int, given: Any) -> str:
        value = given
        if isinstance(given, Mapping) and set(given) <= {"id", "prediction_text"}:
            value = given.get("prediction_text")
        text = self._text(value)
        if text is None:
            raise DataError(
                f"predictions[{row}] must be a text{self._or_number}, or {{'prediction_text': …}} as for "
                f"the Hub's squad metric, got {reprlib.repr(given)}."
            )
        return text

    def _golds(self, row: int, given: Any) -> list[str]:
        value = given
        if isinstance(given, Mapping) and set(given) <= {"id", "answers"}:
            value = given.get("answers")
            value = value.get("text") if isinstance(value, Mapping) else value
        is_several = isinstance(value, Iterable) and not isinstance(
            value, str | bytes | Mapping | set
        )
        texts = [self._text(one) for one in (value if is_several else [value])]
        kept = [text for text in texts if text is not None]
        if not texts or len(kept) < len(texts):
            raise DataError(
                f"references[{row}] must have at least one gold answer: a text{self._or_number}, a list of "
                "them, or {'answers': {'text': […]}} as for the Hub's squad metric, got "
                f"{reprlib.repr(given)}."
            )
        return [self._gold(row, text) for text in kept]

    def _gold(self, row: int, text: str) -> str:
        """Return a gold answer as scoring compares it: of a task with label words, the word.

        Raises:
            DataError: If no answer of the task could ever equal it.
        """
        known = self._task.answers
        if not known:
            return text
        if self._or_number:
            is_right = _is_number(text) and float(known[0]) <= float(text) <= float(known[-1])
            rule, found = f"a number from {known[0]} to {known[-1]}", text
        else:
            found = match_candidate(text, known)
            is_right, rule = found in known, f"one of {', '.join(known)}"
        if not is_right:
            raise DataError(
                f"references[{row}] must be {rule}, got {reprlib.repr(text)}: give what "
                f"task={self._task.name} answers with in place of the data set's own label."
            )
        return found

    def _text(self, value: Any) -> str | None:
        """Return a text, or a finite number as text where the task's answers are numbers; else None."""
        if isinstance(value, str):
            return str(value)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not (is_number and self._or_number and math.isfinite(value)):
            return None
        return format(Decimal(repr(float(value))), "f")

    @property
    def _or_number(self) -> str:
        """What messages add where the task's answers are numbers with a point, such as 3.8."""
        answers = self._task.answers
        is_scale = bool(answers) and all("." in one and _is_number(one) for one in answers)
        return " or a number" if is_scale else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
