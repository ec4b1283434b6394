"""Which shapes are taken, made and given back; tokens stay those of the plain path."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest

from pedro_bench.serving import FastDecoder
from pedro_bench.serving.step_shapes import FACTOR, StepShapes, rounded_rows, rounded_slots
from tests.unit.serving.decoding import CountingBackend, answers, make_prompts


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
        assert total <= largest * FACTOR / (FACTOR - 1)
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


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_batches_of_all_sizes_get_the_tokens_of_the_plain_path(
    decoding: str, beams: int, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    """Smaller batches in a larger shape, larger ones after smaller, and long prompts in between."""
    adapted = make_tenant("pedro", 1, tiny_backbone)
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, decoding, backend=backend)
    long = make_prompts((70, 3), seed=5)
    for prompts, batch_size in (
        (make_prompts(), 8),
        (make_prompts(), 3),
        (make_prompts((4, 9)), 1),
        (long, 2),
        (make_prompts((60, 50, 8, 2, 2)), 2),
        (make_prompts(seed=2), 8),
    ):
        options = {"prompts": prompts, "batch_size": batch_size}
        expected = answers(adapted, None, beams, **options)
        assert answers(adapted, decoder, beams, **options) == expected
    slots = [slots for _, slots in decoder.shapes.kept]
    assert len(slots) <= 2
    assert backend.num_graphs == decoder.shapes.num_compiled
    if decoding == "compiled":
        assert 1 <= backend.num_graphs <= 3


@pytest.mark.parametrize("decoding", ["static", "compiled"])
def test_buffers_that_are_given_back_are_gone_at_once_and_not_compiled_again(
    decoding: str, tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    adapted = make_tenant("lora", 1, tiny_backbone)
    backend = CountingBackend()
    decoder = FastDecoder(tiny_backbone, decoding, backend=backend)
    expected = answers(adapted, decoder, 1, batch_size=8)
    step = decoder.shapes._shapes[0].step
    assert step is not None
    gone = [weakref.ref(step), *map(weakref.ref, step.tensors())]
    del step
    decoder.shapes.release()
    assert [one() for one in gone] == [None] * len(gone), "a cycle would wait for the collector"
    assert decoder.shapes.kept == []
    assert answers(adapted, decoder, 1, batch_size=8) == expected
    assert backend.num_graphs == (1 if decoding == "compiled" else 0)
