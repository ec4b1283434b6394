"""Batching in training: which examples go together, in a step and in a pass.

Training batches are a pure function of seed, epoch and lengths. With `group_by_length` examples of like
length share a step, which pads less; since a step's loss is a mean over its answer tokens, a token among
short answers then counts for more than one among long ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pedro_bench.protocols.batch import batches_by_length
from pedro_bench.seeding import derive

_WINDOW_BATCHES = 50
"""Batches within whose examples lengths are grouped; larger windows pad less and mix less."""


def training_batches(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, group_by_length: bool
) -> list[list[int]]:
    """Divide all examples into batches, each example once.

    The examples are shuffled and cut into batches. With `group_by_length` those of 50 batches are sorted
    by length before they are cut, and the batches are shuffled. Only the last batch cut may be short.

    Args:
        lengths: Length of each example, in tokens.
        batch_size: Examples a batch, at least 1.
        seed: The run's seed.
        epoch: Pass over the data, from 0; each has its own order.
        group_by_length: Whether examples of like length go together.

    Returns:
        Batches of indices into `lengths`.
    """
    random = Random(derive(seed, "order", epoch))
    order = list(range(len(lengths)))
    random.shuffle(order)
    if not group_by_length:
        return _cut(order, batch_size)
    window = _WINDOW_BATCHES * batch_size
    batches = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda index: lengths[index])
        batches += _cut(near, batch_size)
    random.shuffle(batches)
    return batches


@dataclass(frozen=True)
class PassLimit:
    """How much goes through a model in one pass.

    Attributes:
        rows: Most examples, at least 1.
        tokens: Most positions, padding included, or None for no bound; one example always passes.
        added: Positions that a method adds to each example.
    """

    rows: int
    tokens: int | None = None
    added: int = 0

    def count(self, length: int) -> int:
        """Return how many examples of at most a length go into one pass."""
        if self.tokens is None:
            return self.rows
        return max(1, min(self.rows, self.tokens // (length + self.added)))


def portions(lengths: Sequence[int], limit: PassLimit) -> list[list[int]]:
    """Divide a step's examples into passes: as they stand where one will do, else longest first."""
    if len(lengths) <= limit.count(max(lengths, default=1)):
        return [list(range(len(lengths)))] if lengths else []
    return batches_by_length(lengths, limit.count)


def _cut(order: Sequence[int], batch_size: int) -> list[list[int]]:
    return [list(order[at : at + batch_size]) for at in range(0, len(order), batch_size)]
