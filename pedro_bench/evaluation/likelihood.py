"""Log-likelihood of given answers, and ranking of each example's closed set of answers by it.

    log p(answer | prompt) = sum of the log-probabilities of the answer's tokens
    choice = argmax over candidates c of log p(c, end | prompt)  [/ tokens of c and end]

Equal scores go to the candidate that stands first.

Legend: N answer tokens of the batch, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import (
    Adapted,
    by_length,
    check_numbers,
    check_positions,
    evaluating,
    require_decoder,
)
from pedro_bench.protocols.batch import Encoded, collate
from pedro_bench.protocols.task import Example


def loglikelihood(adapted: Adapted, pairs: Sequence[Encoded], *, batch_size: int) -> list[float]:
    """Return log p(answer | prompt) of each pair, in nats, end-of-sequence token included if given.

    Args:
        adapted: The adapted model; its training mode is as before afterwards.
        pairs: Encoded prompts with answers of at least one token.
        batch_size: Pairs scored together; moves results by rounding alone.

    Returns:
        One number, at most 0, for each pair, in the order of `pairs`.

    Raises:
        BackboneError: If the backbone is an encoder.
        ConfigError: If `batch_size` is no whole number of at least 1.
        DataError: If a pair has no prompt or no answer, or exceeds the backbone's positions.
        TrainingError: If the device runs out of memory, or a log-likelihood is not finite.
    """
    require_decoder(adapted.backbone, "scored")
    for position, pair in enumerate(pairs):
        if not pair.answer_ids:
            raise DataError(
                f"every pair must have an answer to be scored, got none at position {position}."
            )
    check_positions(adapted, max((len(pair) for pair in pairs), default=0))
    scores = [0.0] * len(pairs)
    with evaluating(adapted, batch_size):
        for rows in by_length([len(pair) for pair in pairs], batch_size):
            for row, score in zip(rows, _score(adapted, [pairs[i] for i in rows]), strict=True):
                scores[row] = score
    return scores


def _score(adapted: Adapted, pairs: Sequence[Encoded]) -> list[float]:
    """Score one batch."""
    backbone = adapted.backbone
    batch = collate(pairs, int(backbone.tokenizer.pad_token_id)).to(backbone.device)
    logits_NV, labels_N = adapted.answer_logits(batch)
    chosen_N = logits_NV.float().log_softmax(dim=-1).gather(1, labels_N[:, None])[:, 0]
    check_numbers(adapted, chosen_N, "log-likelihoods")
    lengths = [len(pair.answer_ids) for pair in pairs]
    return [float(part.double().sum()) for part in torch.split(chosen_N.cpu(), lengths)]


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
) -> list[str]:
    """Return the likeliest candidate of each example.

    Args:
        adapted: The adapted model.
        examples: Examples with candidates.
        prompts: The same examples, encoded, in the same order; their answers are not looked at.
        continued: Tokenises candidates as answers of their prompts.
        length_normalised: Whether a log-likelihood is divided by the number of tokens it sums up.
        batch_size: Pairs scored together; moves results by rounding alone.

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
