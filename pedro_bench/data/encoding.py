"""Encoding: examples as token ids, fitted to the length limit without touching question or answer.

    sequence = prompt ids (with beginning-of-sequence token) + answer ids + end-of-sequence token

The answer follows the prompt after one space. Its ids are what the tokenizer adds when it reads the
prompt with its answer, so prompt and answer together are tokenised as one text wherever the
tokenizer leaves the prompt's ids as they are (it does where the prompt ends in a colon); else the
answer is tokenised alone. In decoding the same prompt ids are used, so the model continues what it
was trained on.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pedro_bench.data.coder import Coder, EncodedRows, Ids, Packed
from pedro_bench.errors import DataError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example

_logger = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever the same examples are encoded as other token ids; enters the key of a run."""


@dataclass(frozen=True)
class Encoding:
    """Encoded examples of one split.

    Attributes:
        encoded: One `Encoded` an example, in order; `index` is the row of the split.
        truncated: Examples whose prompt was shortened to fit.
        lost_answers: Those of them whose gold answer was in the prompt before and no longer is.
        uncut: Row -> tokens of its prompt before it was shortened, for those examples.
        cut_answers: Examples whose answer was cut at its end, its end-of-sequence token with it.
        misread: Examples whose data hold the written form of a control token that this tokenizer
            cannot read as text.
    """

    encoded: Sequence[Encoded]
    truncated: int
    lost_answers: int
    uncut: Mapping[int, int] = field(default_factory=dict)
    cut_answers: int = 0
    misread: int = 0


def encode(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    max_length: int,
    with_answers: bool,
    max_new_tokens: int = 0,
) -> Encoding:
    """Turn examples into token ids of at most `max_length`.

    An open-ended answer that does not fit behind its prompt is cut at its end, to a quarter of
    `max_length` at the least. Otherwise only parts of the prompt that can shrink are shortened, from
    their end.

    Args:
        tokenizer: A Hugging Face tokenizer.
        examples: The examples of a split, in order.
        max_length: Most tokens of prompt and answer together, end-of-sequence token included.
        with_answers: Whether to append the answers; without them `answer_ids` is empty.
        max_new_tokens: Room kept beside the prompt for decoding, in tokens, even where the answer
            is shorter.

    Raises:
        DataError: If an example cannot fit, or the tokenizer has no end-of-sequence token.
    """
    coder = Coder(tokenizer)
    prompts, answers = coder.encode(examples, with_answers)
    prompt_lengths, answer_lengths = (list(map(len, rows)) for rows in (prompts, answers))
    _fit_answers(examples, prompts, answers, max_length)
    cuts = [
        _Cut(row, examples[row], excess)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        if (excess := len(prompt) + max(len(answer), max_new_tokens) - max_length) > 0
    ]
    for cut, points in zip(cuts, coder.cut_points([cut.text for cut in cuts]), strict=True):
        cut.points, cut.keep = points, len(points)
    unfit = cuts
    while unfit:
        for cut in unfit:
            cut.shorten(max_length)
        shorter = [cut.example for cut in unfit]
        tried = coder.encode(shorter, with_answers)
        _fit_answers(shorter, *tried, max_length)
        for cut, prompt, answer in zip(unfit, *tried, strict=True):
            prompts[cut.row], answers[cut.row] = prompt, answer
            cut.excess = len(prompt) + max(len(answer), max_new_tokens) - max_length
        unfit = [cut for cut in unfit if cut.excess > 0]
    uncut = {cut.row: prompt_lengths[cut.row] for cut in cuts}
    lost = sum(cut.has_lost_gold(examples[cut.row]) for cut in cuts)
    cut_answers = sum(
        len(answer) < length for answer, length in zip(answers, answer_lengths, strict=True)
    )
    packed = EncodedRows(Packed.of(prompts), Packed.of(answers))
    misread = coder.count_misread(examples, with_answers)
    if misread:
        _logger.warning(
            "%d of %d texts hold control tokens that the tokenizer cannot read as text",
            misread,
            len(examples),
        )
    return Encoding(packed, len(cuts), lost, uncut, cut_answers, misread)


def _fit_answers(
    examples: Sequence[Example], prompts: list[Ids], answers: list[Ids], max_length: int
) -> None:
    """Cut open-ended answers that do not fit behind their prompts."""
    for row, example in enumerate(examples):
        if example.open_ended and len(prompts[row]) + len(answers[row]) > max_length:
            answers[row] = answers[row][: max(max_length - len(prompts[row]), max_length // 4)]


def encode_whole(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    max_lengths: Sequence[int],
    with_answers: bool = False,
    max_new_tokens: int = 0,
) -> Sequence[Encoded]:
    """Turn examples that a caller wrote into token ids; nothing is shortened.

    Args:
        tokenizer: A Hugging Face tokenizer.
        examples: Prompts, with their answers or without.
        max_lengths: Each example's most tokens of prompt and answer together.
        with_answers: Whether to append the answers.
        max_new_tokens: Tokens that are to be generated after each prompt.

    Raises:
        DataError: If a text is too long.
    """
    encoded = encode(tokenizer, examples, max_length=sys.maxsize, with_answers=with_answers).encoded
    for row, (one, max_length) in enumerate(zip(encoded, max_lengths, strict=True)):
        if len(one) + max_new_tokens > max_length:
            what = "the answer" if with_answers else f"max_new_tokens={max_new_tokens}"
            remedy = "the answer" if with_answers else "set a lower max_new_tokens"
            raise DataError(
                f"prompt {row} and {what} must fit into {max_length} tokens, got "
                f"{len(one) + max_new_tokens}: shorten the prompt or {remedy}; the prompt begins "
                f"{examples[row].prompt[:60]!r}."
            )
    return encoded


def continuation_ids(tokenizer: Any, pairs: Sequence[tuple[Example, str]]) -> list[Ids]:
    """Return the ids that each answer adds to its prompt, which is not cut, as `encode` makes them."""
    return Coder(tokenizer).answer_ids(pairs)


class _Cut:
    """An example that is too long, and how much of it is kept."""

    def __init__(self, row: int, example: Example, excess: int) -> None:
        self.row = row
        self.example = example
        self.excess = excess
        self.points: list[int] = []
        self.keep = 0
        self._first_excess = excess
        self._beginning = example.prompt[:60]
        places = [at for at, part in enumerate(example.parts) if part.can_shrink]
        self._place = places[-1] if places else None
        self.text = "" if self._place is None else example.parts[self._place].text

    def shorten(self, max_length: int) -> None:
        """Cut as many tokens as the example has too many from the end of what can shrink.

        Raises:
            DataError: If nothing is left to cut.
        """
        if self._place is None or self.keep == 0:
            raise DataError(
                f"row {self.row} must fit into {max_length} tokens, got "
                f"{max_length + self._first_excess}, of which {max_length + self.excess} may not "
                "be cut (the prompt without its long text, and the answer): shorten the row, or raise "
                "trainer.max_length up to the backbone's positions; the row begins "
                f"{self._beginning!r}."
            )
        self.keep = max(0, self.keep - self.excess)
        end = self.points[self.keep - 1] if self.keep else 0
        parts = list(self.example.parts)
        parts[self._place] = replace(parts[self._place], text=self.text[:end].rstrip())
        self.example = replace(self.example, parts=tuple(parts))

    def has_lost_gold(self, whole: Example) -> bool:
        """Whether the gold answer that the whole example holds was cut off with the rest."""
        return whole.extractive and _has_gold(whole) and not _has_gold(self.example)


def _has_gold(example: Example) -> bool:
    """Whether a gold answer stands in a part of the prompt that may be cut."""
    return any(
        gold in part.text for part in example.parts if part.can_shrink for gold in example.golds
    )
