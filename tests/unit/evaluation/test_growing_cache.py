"""A growing cache holds what Transformers' own does, and copies less often."""

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from pedro_bench.evaluation.growing_cache import GrowingCache

LAYERS, HEADS, WIDTH = 2, 3, 4


def new_tokens(rows: int, tokens: int, generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    for layer in range(LAYERS):
        shape = (rows, HEADS, tokens, WIDTH)
        keys = torch.randn(shape, generator=generator)
        # Values of another width than keys, as in latent attention.
        values = torch.randn((*shape[:3], 2 * WIDTH), generator=generator)
        yield keys, values, layer


@pytest.fixture
def caches() -> list[Any]:
    return [DynamicCache(), GrowingCache()]


def grow(caches: list[Any], rows: int, tokens: int, seed: int = 0) -> None:
    for keys, values, layer in new_tokens(rows, tokens, torch.Generator().manual_seed(seed)):
        expected, found = (cache.update(keys, values, layer) for cache in caches)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one, other)


def assert_equal(caches: list[Any]) -> None:
    for one, other in zip(*(cache.layers for cache in caches), strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
        assert one.get_seq_length() == other.get_seq_length()


def test_it_holds_what_is_added(caches: list[Any]) -> None:
    grow(caches, 5, 7)
    for step in range(200):  # beyond the room that is made at once
        grow(caches, 5, 1, seed=step)
    assert_equal(caches)


@pytest.mark.parametrize("rows", [[4, 0, 0, 2, 1], [3, 1], [2]])
def test_rows_are_reordered_and_dropped(caches: list[Any], rows: list[int]) -> None:
    grow(caches, 5, 7)
    for step in range(3):
        for cache in caches:
            chosen = torch.tensor([row % 5 if step == 0 else row % len(rows) for row in rows])
            if len(rows) == 5:
                cache.reorder_cache(chosen)
            else:
                cache.batch_select_indices(chosen)
        grow(caches, len(rows), 1, seed=step)
    assert_equal(caches)


@pytest.mark.parametrize("is_reordered", [True, False])
def test_what_is_put_in_place_from_outside_is_gone_on_from(
    caches: list[Any], is_reordered: bool
) -> None:
    """As where another's code cuts the last position and repeats rows."""
    grow(caches, 2, 6)
    for cache in caches:
        for layer in cache.layers:
            layer.keys = layer.keys[:, :, :-1].repeat_interleave(3, dim=0)
            layer.values = layer.values[:, :, :-1].repeat_interleave(3, dim=0)
        if is_reordered:
            cache.reorder_cache(torch.tensor([2, 1, 0, 5, 4, 3]))
    grow(caches, 6, 1, seed=1)
    assert_equal(caches)


@pytest.mark.parametrize("at", [(slice(1),), (..., slice(None, None, 2), slice(None))])
def test_a_part_that_is_put_in_place_begins_where_the_whole_does(
    caches: list[Any], at: tuple[Any, ...]
) -> None:
    """Fewer rows, and every second position: both begin in the memory of the whole."""
    grow(caches, 2, 6)
    for cache in caches:
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[at], layer.values[at]
    grow(caches, len(caches[0].layers[0].keys), 1, seed=1)
    assert_equal(caches)


def test_reordered_rows_have_room(caches: list[Any]) -> None:
    grow(caches, 2, 6)
    for cache in caches:
        cache.reorder_cache(torch.tensor([1, 0]))
    places = [layer.keys.data_ptr() for layer in caches[1].layers]
    grow(caches, 2, 1)
    assert [layer.keys.data_ptr() for layer in caches[1].layers] == places


def test_rows_are_repeated_and_nothing_holds_the_earlier_ones(caches: list[Any]) -> None:
    grow(caches, 2, 6)
    earlier = weakref.ref(caches[1].layers[0].keys._base)
    assert earlier() is not None
    for cache in caches:
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :-1], layer.values[:, :, :-1]
        cache.batch_repeat_interleave(3)
    assert earlier() is None
    assert_equal(caches)
    grow(caches, 6, 1, seed=1)
    assert_equal(caches)


def test_a_position_that_was_cut_is_written_anew(caches: list[Any]) -> None:
    grow(caches, 2, 6)
    for cache in caches:
        for layer in cache.layers:
            layer.crop(-2)
    grow(caches, 2, 1, seed=1)
    assert_equal(caches)


def test_it_copies_only_when_its_room_is_full() -> None:
    cache = GrowingCache()
    kept = []  # so that no other tensor gets the same address
    for step in range(150):
        for keys, values, layer in new_tokens(2, 1, torch.Generator().manual_seed(step)):
            kept.append(cache.update(keys, values, layer)[0])
    first_layer = {keys.data_ptr() for keys in kept[::LAYERS]}
    assert len(first_layer) < 5
