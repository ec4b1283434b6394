"""Extractive question answering: the answer is a piece of the text in the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import texts_of
from pedro_bench.data.prompt import PromptedTask, first_line, identity_of
from pedro_bench.errors import DataError
from pedro_bench.metrics.question_answering import f1_em
from pedro_bench.protocols.task import Example, Metric, Row

_UNANSWERABLE = (
    ": a question without an answer, as in SQuAD 2.0; use SQuAD 1.1, or leave out these rows"
)


@dataclass(frozen=True, kw_only=True)
class ExtractiveQA(PromptedTask):
    """A text, a question, and one or several answers that stand in the text.

    Attributes:
        answers_field: Field that holds the gold answers; training uses the first one.
    """

    answers_field: str = "answers"

    main_metric: ClassVar[str] = "f1_em"
    metric_functions: ClassVar[tuple[Metric, ...]] = (f1_em,)
    is_mean_over_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.answers_field", self.answers_field)

    @property
    def gold_field(self) -> str:
        """The field of `task.answers_field`."""
        return self.answers_field

    def example(self, row: Row) -> Example:
        """Fill in the prompt; all official answers are golds."""
        values = self.texts(row)
        if str(row.get("is_impossible")).casefold() in ("true", "1", "1.0"):
            raise DataError(f"field 'is_impossible' must be false, got true{_UNANSWERABLE}.")
        golds = texts_of(row, self.answers_field, self.aliases, if_none=_UNANSWERABLE)
        return Example(
            self.template.parts(values), golds[0], golds, identity_of(values), extractive=True
        )

    def extract(self, text: str, example: Example) -> str:
        """Return the first line of the generated text."""
        return first_line(text)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return token F1, exact match and their mean, in percent."""
        return f1_em(predictions, [example.golds for example in examples])
