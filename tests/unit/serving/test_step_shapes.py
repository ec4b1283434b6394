"""Which shapes of static steps are kept: few, not much too large, and in bounded memory."""

from typing import Any

from pedro_bench.serving.step_shapes import (
    MOST_OVERSIZE,
    StepShapes,
    rounded_rows,
    rounded_slots,
)


class Step:
    """Stands for the buffers of a shape, which only their size decides on here."""

    def __init__(self, rows: int, slots: int) -> None:
        self.rows, self.slots = rows, slots


def take(shapes: StepShapes, rows: int, slots: int) -> tuple[int, int]:
    make: Any = Step
    shape, step = shapes.take(rows, slots, make)
    assert isinstance(step, Step)
    assert (step.rows, step.slots) == (shape.rows, shape.slots)
    return shape.rows, shape.slots


def test_shapes_are_few() -> None:
    assert [rounded_rows(rows) for rows in (1, 2, 3, 5, 16)] == [1, 2, 4, 8, 16]
    sizes = {1: 64, 64: 64, 65: 96, 97: 128, 311: 384, 385: 512}
    assert {slots: rounded_slots(slots) for slots in sizes} == sizes


def test_a_batch_takes_a_kept_shape_with_room_that_is_not_much_too_large() -> None:
    shapes = StepShapes()
    assert take(shapes, 30, 250) == (32, 256)
    assert take(shapes, 32, 200) == (32, 256)
    assert take(shapes, 16, 100) == (32, 256)  # four times what it needs
    assert take(shapes, 1, 60) == (1, 64), "one row does not wait for the cache of 32"
    assert shapes.kept == [(32, 256), (1, 64)]
    assert take(shapes, 1, 60) == (1, 64)
    assert take(shapes, 32, 250) == (32, 256)


def test_others_are_given_back_where_a_larger_one_is_made() -> None:
    shapes = StepShapes()
    for rows, slots in ((1, 64), (4, 64), (16, 100)):
        take(shapes, rows, slots)
        assert shapes.kept == [(rows, rounded_slots(slots))]


def test_the_caches_of_prompts_longest_first_stay_within_a_third_over_the_largest() -> None:
    shapes = StepShapes()
    largest = 0
    for slots in range(2000, 10, -10):
        rows, room = take(shapes, 96, slots)
        largest = max(largest, rows * room)
        total = sum(one * other for one, other in shapes.kept)
        assert total <= largest * MOST_OVERSIZE / (MOST_OVERSIZE - 1)
    assert len(shapes.kept) <= 4


def test_what_was_compiled_outlives_its_buffers() -> None:
    shapes = StepShapes()
    make: Any = Step
    small, _ = shapes.take(2, 64, make)
    small.graph = lambda: None
    shapes.take(8, 64, make)
    assert (shapes.kept, shapes.num_compiled) == ([(8, 64)], 1)
    shapes.release()
    assert shapes.kept == []
    assert shapes.take(2, 64, make)[0] is small
    assert shapes.take(1, 64, make)[0] is small
