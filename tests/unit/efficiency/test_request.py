"""What cannot be measured is refused before anything is loaded."""

import random
from typing import Any

import pytest

from pedro_bench.efficiency.request import (
    DEFAULTS,
    Item,
    batch_of,
    drawn,
    request_of,
    spread,
)
from pedro_bench.errors import ConfigError, DataError


def test_one_value_stands_for_a_list() -> None:
    request = request_of({**DEFAULTS, "methods": "pedro", "beams": 1, "tenants": 4})
    assert (request.methods, request.beams, request.tenants) == (("pedro",), (1,), (4,))
    assert (request.prompt_tokens, request.new_tokens) == (278.6, 32.5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("methods", [], "methods must list distinct values, at least one"),
        ("methods", ["lora", "lora"], "methods must list distinct values"),
        ("beams", [0], "beams must be a whole number of at least 1, got 0"),
        ("tenants", [2, 2], "tenants must be distinct numbers"),
        ("decoding", "compild", "got 'compild'. Did you mean 'compiled'"),
        ("repeats", 0, "repeats must be a whole number of at least 1, got 0"),
        ("warmup", 0, "warmup must be a whole number of at least 1, got 0"),
        ("merged", 1, "merged must be true or false, got 1"),
        ("prompts", True, "prompts must be a whole number of at least 1, got True"),
        ("lengths", "papers", "got 'papers'. Did you mean 'paper'"),
        ("new_tokens", 1, "new_tokens must be a number at least 2, got 1"),
    ],
)
def test_wrong_values_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request_of({**DEFAULTS, key: value})


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
