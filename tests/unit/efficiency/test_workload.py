"""Lengths whose mean is the paper's, the same for the same seed."""

import random

import pytest

from pedro_bench.efficiency.workload import Item, batch_of, drawn, spread
from pedro_bench.errors import DataError


def test_the_means_are_the_papers() -> None:
    items = drawn(10, prompt_tokens=278.6, new_tokens=32.5, vocab_size=50, seed=0)
    assert sum(len(item.ids) for item in items) == 2786
    assert sum(item.new_tokens for item in items) == 325
    assert len({len(item.ids) for item in items}) > 5
    assert min(item.new_tokens for item in items) >= 2
    assert all(0 <= token < 50 for item in items for token in item.ids)


def test_the_seed_decides() -> None:
    def draw(seed: int) -> list[Item]:
        return drawn(4, prompt_tokens=20, new_tokens=5, vocab_size=50, seed=seed)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(("count", "mean"), [(1, 2.0), (3, 2.4), (7, 100.0)])
def test_a_spread_has_its_sum_and_no_length_below_two(count: int, mean: float) -> None:
    lengths = spread(count, mean, random.Random(0))
    assert sum(lengths) == max(round(count * mean), 2 * count)
    assert min(lengths) >= 2


def test_a_batch_goes_round_and_ends_together() -> None:
    items = [Item((1, 2), 3), Item((4,), 6)]
    assert batch_of(items, 3) == [Item((1, 2), 4), Item((4,), 4), Item((1, 2), 4)]
    with pytest.raises(DataError, match="must have at least one prompt"):
        batch_of([], 2)
