"""Multiple choice: the choices stand in the prompt, and the answer is the text of the right one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import label_of, plain_lists, shown, wrong_label
from pedro_bench.data.prompt import PromptedTask, fold, identity_of, match_candidate
from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.metrics.classification import accuracy, invalid
from pedro_bench.protocols.task import Example, Metric, Row


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(PromptedTask):
    """A text, choices in fields of their own, and the number of the right choice.

    Attributes:
        prompt: Template with a `{field}` for every text field and every choice.
        choices: Fields that hold the choices, in the order in which the label counts them from 0.
        words: Field -> the only words it may hold (such as `question`: cause, effect).
        label_field: Field that holds the number of the right choice.
    """

    choices: Sequence[str]
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label_field: str = "label"

    main_metric: ClassVar[str] = "acc"
    metric_functions: ClassVar[tuple[Metric, ...]] = (accuracy, invalid)
    is_mean_over_examples: ClassVar[bool] = True
    is_closed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "words", plain_lists("task.words", self.words))
        object.__setattr__(self, "choices", tuple(checks.texts("task.choices", self.choices)))
        checks.text("task.label_field", self.label_field)
        if len(self.choices) < 2:
            raise ConfigError(
                f"task.choices must name at least two fields, got {list(self.choices)!r}."
            )
        for name in (*self.choices, *self.words):
            if name not in self.template.fields:
                raise ConfigError(
                    f"task.choices and task.words must name fields of task.prompt, got {name!r}."
                    + near_match(name, self.template.fields)
                )

    @property
    def gold_field(self) -> str:
        """The field of `task.label_field`."""
        return self.label_field

    def example(self, row: Row) -> Example:
        """Fill in the prompt; the answer is the right choice's text."""
        values = self.texts(row)
        for name, known in self.words.items():
            if values[name] not in known:
                raise DataError(
                    f"field {name!r} must be one of {', '.join(known)}, got {shown(values[name])}."
                )
        choices = tuple(values[name] for name in self.choices)
        if len({fold(choice) for choice in choices}) < len(choices):
            raise DataError(f"fields {', '.join(self.choices)} must differ, got {shown(choices)}.")
        answer = choices[self._number(row)]
        return Example(
            self.template.parts(values), answer, (answer,), identity_of(values), candidates=choices
        )

    def _number(self, row: Row) -> int:
        value, text = label_of(row, self.label_field, self.aliases)
        known = [str(number) for number in range(len(self.choices))]
        if isinstance(value, bool) or text not in known:
            raise wrong_label(self.label_field, f"one of {', '.join(known)}", value)
        return int(text)

    def extract(self, text: str, example: Example) -> str:
        """Return the choice that the first line is, else the line itself."""
        return match_candidate(text, example.candidates)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return accuracy and the share of answers that are none of the choices, in percent."""
        return {
            "acc": accuracy(predictions, [example.golds for example in examples]),
            "invalid": invalid(predictions, [example.candidates for example in examples]),
        }
