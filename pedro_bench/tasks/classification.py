"""Classification: the answer is one of the task's label words, produced as text.

The label words and the spellings under which official releases store the label stand in the task's
YAML. An answer outside the label words is counted as wrong and reported as `invalid`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import label_of, wrong_label
from pedro_bench.data.prompt import PromptedTask, fold, identity_of, match_candidate
from pedro_bench.errors import ConfigError
from pedro_bench.metrics.classification import accuracy, check_lengths, f1, invalid, matthews
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.task import Example, Metric, Row

METRICS: Mapping[str, Metric] = {"acc": accuracy, "f1": f1, "matthews": matthews}


@dataclass(frozen=True, kw_only=True)
class Classification(PromptedTask):
    """One text or a pair of texts, and a label.

    Attributes:
        labels: Official spelling of the label (as text, case folded) -> label word.
        label_field: Field that holds the label.
        metrics: What is measured, the main metric first: `acc`; for two label words also `f1` and
            `matthews`, of the class that the last label word stands for. An answer outside the
            label words counts for the class that is wrong.
    """

    labels: Mapping[str, str]
    label_field: str = "label"

    metrics: Sequence[str] = ("acc",)

    is_closed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.label_field", self.label_field)
        labels: Any = self.labels
        given = labels.values() if isinstance(labels, Mapping) else ()
        for word in given:
            checks.text("task.labels", word)
        words = set(given)
        if len(words) < 2:
            raise ConfigError(f"task.labels must lead to at least two label words, got {labels!r}.")
        if len(set(map(fold, words))) < len(words):
            raise ConfigError(
                "task.labels must lead to label words that differ in more than case and the punctuation at "
                f"their ends, which answers are compared without, got {sorted(words)!r}."
            )
        folded = {str(spelling).casefold(): word for spelling, word in labels.items()}
        object.__setattr__(self, "labels", folded)
        self._check_metrics()

    def _check_metrics(self) -> None:
        object.__setattr__(self, "metrics", tuple(checks.texts("task.metrics", self.metrics)))
        for name in self.metrics:
            checks.choice("task.metrics", name, METRICS)
        binary = set(self.metrics) - {"acc"}
        if not self.metrics or (binary and len(self.label_words) != 2):
            raise ConfigError(
                "task.metrics must be acc, or for two label words also f1 and matthews, got "
                f"{list(self.metrics)!r} for {len(self.label_words)} label words."
            )

    @property
    def main_metric(self) -> str:
        """The first of the metrics."""
        return self.metrics[0]

    @property
    def metric_functions(self) -> tuple[Metric, ...]:
        """The functions of `metrics`, and the share of answers outside the label words."""
        return (*(METRICS[name] for name in self.metrics), invalid)

    @property
    def is_mean_over_examples(self) -> bool:
        """Whether the main metric is accuracy."""
        return self.main_metric == "acc"

    @cached_property
    def label_words(self) -> tuple[str, ...]:
        """The label words, each once."""
        return tuple(dict.fromkeys(self.labels.values()))

    @property
    def gold_field(self) -> str:
        """The field of `task.label_field`."""
        return self.label_field

    def example(self, row: Row) -> Example:
        """Fill in the prompt and look up the label word."""
        values = self.texts(row)
        word = self._label_word(row)
        return Example(
            self.template.parts(values),
            word,
            (word,),
            identity_of(values),
            candidates=self.label_words,
        )

    @property
    def answers(self) -> tuple[str, ...]:
        """The label words."""
        return self.label_words

    @property
    def head(self) -> Head:
        """One output for each label word."""
        return Head(labels=self.label_words)

    def _label_word(self, row: Row) -> str:
        value, text = label_of(row, self.label_field, self.aliases)
        word = self.labels.get(str(value).strip().casefold(), self.labels.get(text.casefold()))
        if word is None:
            raise wrong_label(self.label_field, f"one of {', '.join(self.labels)}", value)
        return word

    def extract(self, text: str, example: Example) -> str:
        """Return the label word that the first line is, else the line itself."""
        return match_candidate(text, example.candidates)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return the task's metrics and the share of answers outside the label words, in percent."""
        golds = [example.golds for example in examples]
        scores: dict[str, float] = {}
        for name in self.metrics:
            if name == "acc":
                scores[name] = accuracy(predictions, golds)
            else:
                scores[name] = METRICS[name](*self._as_classes(predictions, examples))
        return scores | {
            "invalid": invalid(predictions, [example.candidates for example in examples])
        }

    def _as_classes(
        self, predictions: Sequence[str], examples: Sequence[Example]
    ) -> tuple[list[bool], list[bool]]:
        """Return whether each prediction and each gold is the last label word."""
        check_lengths(len(predictions), len(examples))
        last = self.label_words[-1]
        golds = [example.answer == last for example in examples]
        given = [
            word == last if word in self.label_words else not gold
            for word, gold in zip(predictions, golds, strict=True)
        ]
        return given, golds
