import random

import pytest

from pedro_bench.data.batching import PassLimit, portions, training_batches
from pedro_bench.errors import DataError
from pedro_bench.protocols.batch import IGNORED, Encoded, batches_by_length, collate

_random = random.Random(7)
LENGTHS = [_random.randint(3, 90) for _ in range(1003)]


@pytest.mark.parametrize("grouped", [False, True])
def test_training_batches_hold_every_example_once(grouped):
    batches = training_batches(LENGTHS, 16, seed=3, epoch=1, group_by_length=grouped)
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert sorted(map(len, batches)) == [11] + [16] * 62


@pytest.mark.parametrize("grouped", [False, True])
def test_training_batches_are_a_function_of_seed_and_epoch(grouped):
    def made(seed, epoch):
        return training_batches(LENGTHS, 16, seed=seed, epoch=epoch, group_by_length=grouped)

    assert made(3, 1) == made(3, 1)
    assert made(3, 1) != made(4, 1)
    assert made(3, 1) != made(3, 2)


def test_training_batches_group_by_length_but_not_in_order():
    batches = training_batches(LENGTHS, 16, seed=0, epoch=0, group_by_length=True)
    spread = [max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < 10  # 80 without grouping
    means = [sum(LENGTHS[i] for i in batch) / len(batch) for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_a_step_that_is_not_grouped_weighs_all_tokens_nearly_alike():
    """A step's loss is a mean over its tokens, so its weight is one over their number."""

    def spread(*, grouped):
        batches = training_batches(LENGTHS, 16, seed=0, epoch=0, group_by_length=grouped)[:-1]
        weights = [1 / sum(LENGTHS[i] for i in batch) for batch in batches if len(batch) == 16]
        return max(weights) / min(weights)

    assert spread(grouped=False) < 2.5
    assert spread(grouped=True) > 8


def test_batches_by_length_are_longest_first_and_keep_the_order_of_equals():
    assert batches_by_length([3, 9, 5, 9], PassLimit(2).count) == [[1, 3], [2, 0]]
    order = [index for rows in batches_by_length(LENGTHS, lambda _: 7) for index in rows]
    assert order == sorted(range(1003), key=lambda index: (-LENGTHS[index], index))


def test_a_pass_holds_no_more_positions_than_it_may():
    for limit in (PassLimit(16, 200), PassLimit(16, 200, added=10), PassLimit(3, 10_000)):
        for passes in (batches_by_length(LENGTHS, limit.count), portions(LENGTHS, limit)):
            assert sorted(index for rows in passes for index in rows) == list(range(1003))
            widths = [max(LENGTHS[i] for i in rows) + limit.added for rows in passes]
            assert widths == sorted(widths, reverse=True)
            assert all(
                len(rows) * width <= limit.tokens
                for rows, width in zip(passes, widths, strict=True)
            )
            assert max(map(len, passes)) <= limit.rows


def test_an_example_longer_than_the_bound_passes_alone():
    assert portions([3, 500, 2], PassLimit(16, 100)) == [[1], [0, 2]]


def test_a_step_that_fits_into_one_pass_keeps_its_order():
    assert portions([3, 9, 5], PassLimit(3, 27)) == [[0, 1, 2]]
    assert portions([3, 9, 5], PassLimit(3, 26)) == [[1, 2], [0]]


def test_no_examples_no_batches():
    assert training_batches([], 4, seed=0, epoch=0, group_by_length=True) == []
    assert training_batches([], 4, seed=0, epoch=0, group_by_length=False) == []
    assert batches_by_length([], PassLimit(4).count) == []
    assert portions([], PassLimit(4)) == []


ROWS = (Encoded((1, 5, 6), (7, 2), 4), Encoded((1, 8), (9, 9, 9, 2), 0))


def test_collate_pads_on_the_right():
    batch = collate(ROWS, 0)
    assert batch.input_ids_BT.tolist() == [[1, 5, 6, 7, 2, 0], [1, 8, 9, 9, 9, 2]]
    assert batch.attention_mask_BT.tolist() == [[True] * 5 + [False], [True] * 6]
    assert batch.prompt_mask_BT.tolist() == [[True] * 3 + [False] * 3, [True] * 2 + [False] * 4]
    ignored = IGNORED
    assert batch.labels_BT.tolist() == [
        [ignored, ignored, ignored, 7, 2, ignored],
        [ignored, ignored, 9, 9, 9, 2],
    ]
    assert batch.is_right_padded


@pytest.mark.parametrize("rows", [(), (Encoded((), (2,), 0),)])
def test_collate_refuses_nothing(rows):
    with pytest.raises(DataError, match=r"must have at least one example, each with a prompt"):
        collate(rows, 0)
