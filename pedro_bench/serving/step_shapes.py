"""The shapes of static steps that a decoder keeps: few for all batches, in bounded memory.

A batch needs `rows` (its beams included) and `slots` (prompt and answer, padding included). They are rounded
up: rows to a power of two, slots to 64, 96, 128, 192, …. The batch takes the smallest kept shape that has
room for it, as long as that is no more than MOST_OVERSIZE times what it needs (a step reads the whole cache).
Else a shape of its own is made, and all kept ones of less than MOST_OVERSIZE times its size give their
buffers back.

So the caches kept beside the largest take a third of its memory at most, prompts decoded longest first fit
into the first batch's shape for a while, and a single request does not wait for the cache of a large batch.
What was compiled is kept without its buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pedro_bench.serving.static_step import StaticStep
from pedro_bench.serving.step_programs import Graph

MOST_OVERSIZE = 4
"""Most rows times slots of a shape, over those of a batch that it serves."""

_FEWEST_SLOTS = 64
"""Slots of the smallest shapes."""


@dataclass(eq=False)
class StepShape:
    """One shape, and what is kept for it.

    Attributes:
        rows: Rows that there is room for, beams included.
        slots: Tokens of a row that there is room for, padding included.
        step: The step over buffers of this shape; None: they were given back.
        graph: The compiled step, which needs no buffers; None: nothing was compiled.
        weights: Tensors of model and method that the step's program is bound to; empty: none yet.
    """

    rows: int
    slots: int
    step: StaticStep | None = None
    graph: Graph | None = None
    weights: list[Tensor] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Rows times slots, which the memory of a cache is proportional to."""
        return self.rows * self.slots

    def has_room(self, rows: int, slots: int) -> bool:
        """Whether a batch of (rounded) rows and slots fits in, and not much of the shape would be idle."""
        is_large_enough = self.rows >= rows and self.slots >= slots
        return is_large_enough and self.size <= MOST_OVERSIZE * rows * slots

    def release(self) -> None:
        """Give the buffers back, and with them what was recorded over them."""
        self.step, self.weights = None, []


class StepShapes:
    """The shapes of one decoder."""

    def __init__(self) -> None:
        self._shapes: list[StepShape] = []

    @property
    def num_compiled(self) -> int:
        """Shapes that were compiled so far."""
        return sum(shape.graph is not None for shape in self._shapes)

    @property
    def kept(self) -> list[tuple[int, int]]:
        """Rows and slots of all shapes that hold buffers."""
        return [(shape.rows, shape.slots) for shape in self._shapes if shape.step is not None]

    def take(
        self, rows: int, slots: int, make: Callable[[int, int], StaticStep]
    ) -> tuple[StepShape, StaticStep]:
        """Return a shape with room for a batch, and its step.

        Args:
            rows: Rows of the batch, beams included.
            slots: Tokens of prompt and answer, padding included.
            make: Called with the rows and slots of a shape where its buffers are to be made.
        """
        rows, slots = rounded_rows(rows), rounded_slots(slots)
        fitting = [shape for shape in self._shapes if shape.has_room(rows, slots)]
        # A shape without buffers is here for what it has compiled.
        chosen = min(fitting, key=lambda shape: (shape.step is None, shape.size), default=None)
        if chosen is None:
            chosen = StepShape(rows, slots)
        if chosen.step is None:
            self._release_below(MOST_OVERSIZE * chosen.size)
            chosen.step = make(chosen.rows, chosen.slots)
            if chosen not in self._shapes:
                self._shapes.append(chosen)
        return chosen, chosen.step

    def release(self) -> None:
        """Give all buffers back; what was compiled is kept."""
        for shape in self._shapes:
            shape.release()
        self._forget_empty()

    def drop(self, shape: StepShape) -> None:
        """Keep nothing of a shape whose step failed, so that smaller batches get one of their own."""
        shape.release()
        self._shapes.remove(shape)

    def _release_below(self, size: int) -> None:
        for shape in self._shapes:
            if shape.size < size:
                shape.release()
        self._forget_empty()

    def _forget_empty(self) -> None:
        """Forget shapes that have neither buffers nor a graph."""
        self._shapes = [
            shape for shape in self._shapes if shape.step is not None or shape.graph is not None
        ]


def rounded_rows(rows: int) -> int:
    """Return the next power of two."""
    return 1 << (rows - 1).bit_length()


def rounded_slots(slots: int) -> int:
    """Return the next of 64, 96, 128, 192, 256, 384, …."""
    size = _FEWEST_SLOTS
    while size < slots:
        if size * 3 // 2 >= slots:
            return size * 3 // 2
        size *= 2
    return size
