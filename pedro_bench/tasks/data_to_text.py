"""Data to text: a meaning representation is put into words (E2E NLG).

A meaning representation stands in several rows, one for each text that people wrote for it. Train
and dev hold these rows; the test split holds each meaning once, with all its texts as references,
as the E2E challenge's script scores them. Rows of other splits are grouped the same way where they
are scored: the first prediction of each meaning counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.answers import first_line
from pedro_bench.data.fields import text_of
from pedro_bench.data.prompt import identity_of
from pedro_bench.data.prompted import PromptedTask
from pedro_bench.metrics.captions import caption_rouge_l, cider
from pedro_bench.metrics.classification import check_lengths
from pedro_bench.metrics.meteor import meteor
from pedro_bench.metrics.mteval import bleu, nist
from pedro_bench.protocols.task import Example, Metric, Row


@dataclass(frozen=True, kw_only=True)
class DataToText(PromptedTask):
    """A meaning representation and a text that says it.

    Attributes:
        answer_field: Field that holds the text.
    """

    answer_field: str = "ref"

    main_metric: ClassVar[str] = "bleu"
    metric_functions: ClassVar[tuple[Metric, ...]] = (bleu, nist, meteor, caption_rouge_l, cider)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.answer_field", self.answer_field)

    @property
    def gold_field(self) -> str:
        """The field of `task.answer_field`."""
        return self.answer_field

    def example(self, row: Row) -> Example:
        """Fill in the prompt; line feeds within a text become spaces."""
        values = self.texts(row)
        answer = " ".join(text_of(row, self.answer_field, self.aliases).split())
        return Example(self.template.parts(values), answer, (answer,), identity_of(values))

    def scored_examples(self, examples: Sequence[Example]) -> list[Example]:
        """Return each meaning once, in order, with all its texts as references."""
        grouped: dict[str, list[str]] = {}
        first: dict[str, Example] = {}
        for example in examples:
            first.setdefault(example.identity, example)
            grouped.setdefault(example.identity, []).extend(example.golds)
        return [
            replace(example, golds=tuple(grouped[identity])) for identity, example in first.items()
        ]

    def extract(self, text: str, example: Example) -> str:
        """Return the first line of the generated text."""
        return first_line(text)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return BLEU, METEOR and ROUGE-L in percent, NIST and CIDEr as they are."""
        check_lengths(len(predictions), len(examples))
        said: dict[str, str] = {}
        for text, example in zip(predictions, examples, strict=True):
            said.setdefault(example.identity, text)
        references = [example.golds for example in self.scored_examples(examples)]
        outputs = list(said.values())
        return {
            "bleu": bleu(outputs, references),
            "nist": nist(outputs, references),
            "meteor": meteor(outputs, references),
            "rouge_l": caption_rouge_l(outputs, references),
            "cider": cider(outputs, references),
        }
