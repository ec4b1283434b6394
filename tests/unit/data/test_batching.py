import random

import pytest

from pedro_bench.data.batching import collate, evaluation_batches, training_batches
from pedro_bench.errors import DataError
from pedro_bench.protocols.batch import IGNORED, Encoded

_random = random.Random(7)
LENGTHS = [_random.randint(3, 90) for _ in range(1003)]


def test_training_batches_hold_every_example_once():
    batches = training_batches(LENGTHS, 16, seed=3, epoch=1)
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    assert sorted(map(len, batches)) == [11] + [16] * 62


def test_training_batches_are_a_function_of_seed_and_epoch():
    first = training_batches(LENGTHS, 16, seed=3, epoch=1)
    assert first == training_batches(LENGTHS, 16, seed=3, epoch=1)
    assert first != training_batches(LENGTHS, 16, seed=4, epoch=1)
    assert first != training_batches(LENGTHS, 16, seed=3, epoch=2)


def test_training_batches_group_by_length_but_not_in_order():
    batches = training_batches(LENGTHS, 16, seed=0, epoch=0)
    spread = [max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < 10  # 80 without grouping
    means = [sum(LENGTHS[i] for i in batch) / len(batch) for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_evaluation_batches_are_sorted_and_whole():
    batches = evaluation_batches([3, 9, 5, 9], 2)
    assert batches == [[1, 3], [2, 0]]


def test_no_examples_no_batches():
    assert training_batches([], 4, seed=0, epoch=0) == []
    assert evaluation_batches([], 4) == []


ROWS = (Encoded((1, 5, 6), (7, 2), 4), Encoded((1, 8), (9, 9, 9, 2), 0))


def test_collate_right_for_training():
    batch = collate(ROWS, 0, "right")
    assert batch.input_ids_BT.tolist() == [[1, 5, 6, 7, 2, 0], [1, 8, 9, 9, 9, 2]]
    assert batch.attention_mask_BT.tolist() == [[True] * 5 + [False], [True] * 6]
    assert batch.prompt_mask_BT.tolist() == [[True] * 3 + [False] * 3, [True] * 2 + [False] * 4]
    ignored = IGNORED
    assert batch.labels_BT.tolist() == [
        [ignored, ignored, ignored, 7, 2, ignored],
        [ignored, ignored, 9, 9, 9, 2],
    ]
    assert batch.indices == (4, 0)
    assert batch.num_answer_tokens == 6
    assert batch.is_right_padded


def test_collate_left_for_decoding_takes_prompts_only():
    batch = collate(ROWS, 0, "left")
    assert batch.input_ids_BT.tolist() == [[1, 5, 6], [0, 1, 8]]
    assert batch.attention_mask_BT.tolist() == [[True] * 3, [False, True, True]]
    assert batch.prompt_mask_BT.tolist() == batch.attention_mask_BT.tolist()
    assert batch.num_answer_tokens == 0


@pytest.mark.parametrize("rows", [(), (Encoded((), (2,), 0),)])
def test_collate_refuses_nothing(rows):
    with pytest.raises(DataError, match=r"must have at least one example, each with a prompt"):
        collate(rows, 0, "right")
