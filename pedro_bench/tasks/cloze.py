"""Cloze: a statement with a placeholder, filled by an entity that the text names (ReCoRD)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import shown, text_of, texts_of
from pedro_bench.data.prompt import PromptedTask, identity_of, match_candidate
from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.metrics.classification import invalid
from pedro_bench.metrics.question_answering import f1_em
from pedro_bench.protocols.task import Example, Metric, Row


@dataclass(frozen=True, kw_only=True)
class Cloze(PromptedTask):
    """A text, the entities in it, a statement with a placeholder, and the entities that fill it.

    Attributes:
        prompt: Template with a `{field}` for every text field and for the list of entities.
        placeholder: The word in the statement that stands for the entity.
        query_field: Field that holds the statement.
        entities_field: Field that holds the list of entities, or None for rows without one: the
            answers are then open, and the prompt does without the list.
        answers_field: Field that holds the gold answers; training uses the first one.
    """

    placeholder: str = "@placeholder"
    query_field: str = "query"
    entities_field: str | None = "entities"
    answers_field: str = "answers"

    main_metric: ClassVar[str] = "f1_em"
    metric_functions: ClassVar[tuple[Metric, ...]] = (f1_em, invalid)
    is_mean_over_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.placeholder", self.placeholder)
        checks.text("task.answers_field", self.answers_field)
        lists = [] if self.entities_field is None else [self.entities_field]
        for name in (self.query_field, *lists):
            if name not in self.template.fields:
                raise ConfigError(
                    "task.query_field and task.entities_field must be fields of task.prompt, got "
                    f"{name!r}.{near_match(str(name), self.template.fields)}"
                )

    @property
    def is_closed(self) -> bool:
        """Whether the entities are given."""
        return self.entities_field is not None

    @property
    def gold_field(self) -> str:
        """The field of `task.answers_field`."""
        return self.answers_field

    def example(self, row: Row) -> Example:
        """Fill in the prompt; the entities, where given, are the closed set of answers."""
        values = self.texts(row)
        if self.placeholder not in values[self.query_field]:
            raise DataError(
                f"field {self.query_field!r} must hold {self.placeholder!r}, got "
                f"{shown(values[self.query_field])}."
            )
        golds = texts_of(row, self.answers_field, self.aliases)
        return Example(
            self.template.parts(values),
            golds[0],
            golds,
            identity_of(values),
            candidates=self._entities(row),
            extractive=True,
        )

    def texts(self, row: Row) -> dict[str, str]:
        """Return the texts that fill the prompt; the list of entities with commas."""
        return {
            name: ", ".join(self._entities(row))
            if name == self.entities_field
            else text_of(row, name, self.aliases)
            for name in self.template.fields
        }

    def _entities(self, row: Row) -> tuple[str, ...]:
        if self.entities_field is None:
            return ()
        try:
            return texts_of(row, self.entities_field, self.aliases)
        except DataError as error:
            raise DataError(
                f"{error} For rows without entities give task.entities_field=null and a "
                f"task.prompt without {{{self.entities_field}}}."
            ) from None

    def extract(self, text: str, example: Example) -> str:
        """Return the entity that the first line is, else the line itself."""
        return match_candidate(text, example.candidates)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return token F1, exact match, their mean, and answers that are no entity, in percent."""
        scores = f1_em(predictions, [example.golds for example in examples])
        if self.is_closed:
            outside = invalid(predictions, [example.candidates for example in examples])
            scores["invalid"] = outside
        return scores
