"""Rank the closed set of answers of each example by the model's log-likelihood.

    answer = argmax over candidates c of log p(c, end | prompt)  [/ tokens of c and end]

Equal scores go to the candidate that stands first.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import Adapted, Progress
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example

Continue = Callable[[Sequence[tuple[Example, str]]], Sequence[Sequence[int]]]
"""Turns pairs of an example and an answer to its prompt into the ids that the answer adds, its end too."""

_CHUNK = 256
"""Examples ranked at once; bounds the memory that their pairs take."""


def rank(
    adapted: Adapted,
    examples: Sequence[Example],
    prompts: Sequence[Encoded],
    continued: Continue,
    *,
    length_normalised: bool,
    batch_size: int,
    progress: Progress | None = None,
) -> list[str]:
    """Return the likeliest candidate of each example.

    Args:
        adapted: The adapted model.
        examples: Examples with candidates.
        prompts: The same examples, encoded, in the same order; their answers are not looked at.
        continued: Tokenises candidates as answers of their prompts.
        length_normalised: Whether a log-likelihood is divided by the number of tokens it sums up.
        batch_size: Pairs scored together; does not change any result.
        progress: Called after each part with the numbers of finished and of all examples.

    Raises:
        DataError: If an example has no candidates.
        TrainingError: If the device runs out of memory.
    """
    answers: list[str] = []
    for start in range(0, len(examples), _CHUNK):
        part = slice(start, start + _CHUNK)
        pairs = _pairs(examples[part], prompts[part], continued)
        sums = loglikelihood(adapted, pairs, batch_size=batch_size)
        lengths = [len(pair.answer_ids) if length_normalised else 1 for pair in pairs]
        scores = [score / length for score, length in zip(sums, lengths, strict=True)]
        answers += _likeliest(examples[part], scores)
        if progress is not None:
            progress(len(answers), len(examples))
    return answers


def _pairs(
    examples: Sequence[Example], prompts: Sequence[Encoded], continued: Continue
) -> list[Encoded]:
    """Return each prompt with each of its candidates as answer."""
    found = iter(continued([(one, word) for one in examples for word in one.candidates]))
    pairs: list[Encoded] = []
    for example, prompt in zip(examples, prompts, strict=True):
        if not example.candidates:
            raise DataError(
                f"an example must have candidates to be ranked, got none: {example.prompt[:60]!r}."
            )
        pairs += [replace(prompt, answer_ids=tuple(next(found))) for _ in example.candidates]
    return pairs


def _likeliest(examples: Sequence[Example], scores: Sequence[float]) -> list[str]:
    answers, start = [], 0
    for example in examples:
        values = scores[start : start + len(example.candidates)]
        answers.append(example.candidates[values.index(max(values))])
        start += len(values)
    return answers
