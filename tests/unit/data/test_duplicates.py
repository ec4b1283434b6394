import pytest

from pedro_bench.data.duplicates import choose_groups


@pytest.mark.parametrize(
    ("sizes", "target", "total"),
    [
        ([1, 1, 1, 1], 2, 2),
        ([3, 3, 2, 2, 2], 6, 6),
        ([2, 2, 2], 3, 2),
        ([5], 3, 0),
        ([4, 3, 3], 6, 6),  # taking the first that fits would stop at 4
        ([1, 2], 0, 0),
    ],
)
def test_chosen_groups_come_as_near_as_can_be(sizes, target, total):
    chosen = choose_groups(sizes, target)
    assert sum(sizes[position] for position in chosen) == total
    assert len(set(chosen)) == len(chosen)


def test_early_groups_are_preferred():
    assert choose_groups([1, 1, 1, 1, 1], 3) == [0, 1, 2]
