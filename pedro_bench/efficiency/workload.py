"""Workload: which prompts are read and how many tokens are generated for each."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pedro_bench.errors import DataError

_SHAPE = 4.0
"""Shape of the gamma distribution that lengths are drawn from: standard deviation half the mean."""

_FEWEST = 2
"""Shortest prompt and answer: a first token and one more, so that both times can be told apart."""


@dataclass(frozen=True)
class Item:
    """One prompt.

    Attributes:
        ids: Its token ids.
        new_tokens: Tokens to generate, no more and no fewer.
    """

    ids: tuple[int, ...]
    new_tokens: int


def drawn(
    count: int, *, prompt_tokens: float, new_tokens: float, vocab_size: int, seed: int
) -> list[Item]:
    """Draw prompts of random tokens; the mean lengths are the given ones, to the nearest token in all.

    Args:
        count: Prompts, at least 1.
        prompt_tokens: Mean length of a prompt, at least 2.
        new_tokens: Mean number of generated tokens, at least 2.
        vocab_size: Token ids are below it.
        seed: Same seed, same workload.
    """
    stream = random.Random(seed)
    prompts = spread(count, prompt_tokens, stream)
    answers = spread(count, new_tokens, stream)
    return [
        Item(tuple(stream.randrange(vocab_size) for _ in range(length)), new)
        for length, new in zip(prompts, answers, strict=True)
    ]


def spread(count: int, mean: float, stream: random.Random) -> list[int]:
    """Return lengths of at least 2 whose sum is `round(count * mean)`."""
    total = max(round(count * mean), count * _FEWEST)
    weights = [stream.gammavariate(_SHAPE, 1.0) for _ in range(count)]
    room = total - count * _FEWEST
    whole = sum(weights)
    exact = [weight / whole * room for weight in weights]
    lengths = [int(part) for part in exact]
    by_rest = sorted(range(count), key=lambda index: lengths[index] - exact[index])
    for index in by_rest[: room - sum(lengths)]:
        lengths[index] += 1
    return [length + _FEWEST for length in lengths]


def batch_of(items: Sequence[Item], size: int) -> list[Item]:
    """Return `size` items, going round, that all generate the mean number of tokens.

    A batch ends together, so all of it generates as much.
    """
    if not items:
        raise DataError("a workload must have at least one prompt, got none.")
    new = max(_FEWEST, round(sum(item.new_tokens for item in items) / len(items)))
    return [Item(items[index % len(items)].ids, new) for index in range(size)]
