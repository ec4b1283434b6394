"""Data to text: a meaning representation is put into words (E2E NLG).

A meaning representation stands in several rows, one for each text that people wrote for it. Train
and dev hold these rows; the test split holds each meaning once, with all its texts as references,
as the E2E challenge's script scores them. Rows of other splits are grouped the same way where they
are scored: the first prediction of each meaning counts.

METEOR goes by two names: `meteor_1.5` is the Java program's, which papers report, and `meteor_exact_stem`
what this package computes where the program is not there. Nothing compares the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import text_of
from pedro_bench.data.prompt import PromptedTask, first_line, identity_of
from pedro_bench.metrics.caption_programs import meteor_15, programs
from pedro_bench.metrics.captions import bleu, caption_rouge_l, cider, nist, words
from pedro_bench.metrics.classification import check_lengths
from pedro_bench.metrics.meteor import meteor_exact_stem
from pedro_bench.protocols.task import Example, Metric, Row

_TOKENISED = re.compile(r"\w [.,]( |$)")


@dataclass(frozen=True, kw_only=True)
class DataToText(PromptedTask):
    """A meaning representation and a text that says it.

    Attributes:
        answer_field: Field that holds the text.
    """

    answer_field: str = "ref"

    main_metric: ClassVar[str] = "bleu"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.answer_field", self.answer_field)

    @property
    def gold_field(self) -> str:
        """The field of `task.answer_field`."""
        return self.answer_field

    @property
    def metric_functions(self) -> tuple[Metric, ...]:
        """BLEU, NIST, ROUGE-L, CIDEr, and whichever METEOR this machine has.

        Raises:
            ConfigError: If Java and METEOR 1.5 are there and do not work.
        """
        meteor: Metric = meteor_15 if programs() else meteor_exact_stem
        return (bleu, nist, meteor, caption_rouge_l, cider)

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
        """Return BLEU, METEOR and ROUGE-L in percent, NIST and CIDEr as they are.

        Raises:
            ConfigError: If Java and METEOR 1.5 are there and do not work.
        """
        check_lengths(len(predictions), len(examples))
        said: dict[str, str] = {}
        for text, example in zip(predictions, examples, strict=True):
            said.setdefault(example.identity, text)
        references = [example.golds for example in self.scored_examples(examples)]
        outputs, found = list(said.values()), programs()
        texts = [text for given in references for text in given]
        # All references in one stream, then all outputs, as the challenge's script.
        each = iter(found.words(texts) if found else map(words, texts))
        wanted = [[next(each) for _ in given] for given in references]
        given = found.words(outputs) if found else list(map(words, outputs))
        return {
            "bleu": bleu(outputs, references),
            "nist": nist(outputs, references),
            **(
                {"meteor_1.5": meteor_15(found, given, wanted)}
                if found
                else {"meteor_exact_stem": meteor_exact_stem(given, wanted)}
            ),
            "rouge_l": caption_rouge_l(given, wanted),
            "cider": cider(given, wanted),
        }

    def scoring_notes(self, examples: Sequence[Example]) -> list[str]:
        """Say which programs score METEOR, ROUGE-L and CIDEr, and how the references are written.

        Raises:
            ConfigError: If Java and METEOR 1.5 are there and do not work.
        """
        found = programs()
        how = (
            f"METEOR is that of METEOR 1.5, and ROUGE-L and CIDEr are of the words of Stanford's PTB "
            f"tokenizer 3.4.1 (pycocoevalcap {found.version}, Java {found.runtime})."
            if found
            else "METEOR is of exact and stem matches, which is below METEOR 1.5, and ROUGE-L and CIDEr "
            "are of this package's own words: Java or the package pycocoevalcap is not there."
        )
        golds = [gold for example in examples for gold in example.golds]
        tokenised = sum(bool(_TOKENISED.search(gold)) for gold in golds)
        return [
            how,
            f"{tokenised} of {len(golds)} references are tokenised (a space before full stops and "
            "commas); tokenised and detokenised references give different scores.",
        ]
