"""Extractive question answering: the answer is a piece of the text in the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.answers import first_line
from pedro_bench.data.fields import plain_lists, text_of, texts_of
from pedro_bench.data.prompt import PromptTemplate, identity_of, parse_template
from pedro_bench.metrics.question_answering import f1_em
from pedro_bench.protocols.task import Example, Row, Task


@dataclass(frozen=True, kw_only=True)
class ExtractiveQA(Task):
    """A text, a question, and one or several answers that stand in the text.

    Attributes:
        prompt: Template with a `{field}` for every text field.
        shrinkable: The field that may be cut from its end to fit the length limit, or None.
        answers_field: Field that holds the gold answers; training uses the first one.
        aliases: Field -> other names of it in other releases.
    """

    prompt: str
    shrinkable: str | None = None
    answers_field: str = "answers"
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    main_metric: ClassVar[str] = "f1_em"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "aliases", plain_lists("task.aliases", self.aliases))
        checks.text("task.answers_field", self.answers_field)
        self.template  # noqa: B018 - checks the prompt

    @property
    def template(self) -> PromptTemplate:
        """The parsed prompt."""
        return parse_template("task.prompt", self.prompt, self.shrinkable)

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the prompt and of the answers."""
        return (*self.template.fields, self.answers_field)

    def example(self, row: Row) -> Example:
        """Fill in the prompt; all official answers are golds."""
        template = self.template
        values = {name: text_of(row, name, self.aliases) for name in template.fields}
        golds = texts_of(row, self.answers_field, self.aliases)
        return Example(
            template.parts(values), golds[0], golds, identity_of(values), extractive=True
        )

    def extract(self, text: str, example: Example) -> str:
        """Return the first line of the generated text."""
        return first_line(text)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return token F1, exact match and their mean, in percent."""
        return f1_em(predictions, [example.golds for example in examples])
