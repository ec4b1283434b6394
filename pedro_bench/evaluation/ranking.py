"""Rank the closed set of answers of each example by the model's log-likelihood.

    answer = argmax over candidates c of log p(c, end | prompt)  [/ tokens of c and end]

Equal scores go to the candidate that stands first.
"""

from collections.abc import Sequence
from dataclasses import replace

from pedro_bench.data.encoding import continuation_ids
from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import Adapted, Progress
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example

_CHUNK = 256
"""Examples ranked at once; bounds the memory that their pairs take."""


def rank(
    adapted: Adapted,
    examples: Sequence[Example],
    prompts: Sequence[Encoded],
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
        answers += _rank(adapted, examples[part], prompts[part], length_normalised, batch_size)
        if progress is not None:
            progress(len(answers), len(examples))
    return answers


def _rank(
    adapted: Adapted,
    examples: Sequence[Example],
    prompts: Sequence[Encoded],
    length_normalised: bool,
    batch_size: int,
) -> list[str]:
    texts = [(one.prompt, word) for one in examples for word in one.candidates]
    found = iter(continuation_ids(adapted.backbone.tokenizer, texts))
    pairs: list[Encoded] = []
    for example, prompt in zip(examples, prompts, strict=True):
        if not example.candidates:
            raise DataError(
                f"an example must have candidates to be ranked, got none: {example.prompt[:60]!r}."
            )
        pairs += [replace(prompt, answer_ids=tuple(next(found))) for _ in example.candidates]
    sums = loglikelihood(adapted, pairs, batch_size=batch_size)
    scores = iter(
        score / len(pair.answer_ids) if length_normalised else score
        for score, pair in zip(sums, pairs, strict=True)
    )
    answers = []
    for example in examples:
        values = [next(scores) for _ in example.candidates]
        answers.append(example.candidates[values.index(max(values))])
    return answers
