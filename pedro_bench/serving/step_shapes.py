"""Which static steps a decoder keeps: a few shapes that serve every batch, in bounded memory.

A batch needs `rows` and `slots`, rounded up to a power of two and to 64, 96, 128, 192, …. It takes the
smallest kept shape that has room for it, as long as that is no more than FACTOR times what it needs (a step
reads the whole cache); else a shape of its own is made, and kept ones of less than FACTOR times the new one
give their buffers back. So the caches kept beside the largest take a third of its memory at most, prompts
decoded longest first fit into the first batch's shape for a while, and a single request does not wait for
the cache of a large batch. What was compiled is kept without its buffers: a shape that comes back is not
compiled again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pedro_bench.serving.static_step import StaticStep
from pedro_bench.serving.step_graphs import Graph

FACTOR = 4
"""Most rows times slots of a shape, over those of a batch that it serves."""

_FEWEST_SLOTS = 64


@dataclass(eq=False)
class StepShape:
    """One shape: its step, its graph, and the weights that the step is bound to.

    Attributes:
        rows: Rows of the buffers.
        slots: Tokens of prompt and answer together, padding included.
        step: The step and its buffers, or None after they were given back.
        graph: What was compiled, or None.
        weights: Those that the step was installed with.
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
            slots: Its tokens of prompt and answer together, padding included.
            make: Makes the step of so many rows and slots.
        """
        rows, slots = rounded_rows(rows), rounded_slots(slots)
        fitting = [
            shape
            for shape in self._shapes
            if shape.rows >= rows and shape.slots >= slots and shape.size <= FACTOR * rows * slots
        ]
        # A shape without buffers is here for what it has compiled.
        chosen = min(fitting, key=lambda shape: (shape.step is None, shape.size), default=None)
        if chosen is None:
            chosen = StepShape(rows, slots)
        if chosen.step is None:
            self._release_below(FACTOR * chosen.size)
            chosen.step = make(chosen.rows, chosen.slots)
            if chosen not in self._shapes:
                self._shapes.append(chosen)
        return chosen, chosen.step

    def release(self) -> None:
        """Give all buffers back; what was compiled is kept."""
        for shape in self._shapes:
            shape.release()
        self._shapes = [shape for shape in self._shapes if shape.graph is not None]

    def drop(self, shape: StepShape) -> None:
        """Keep nothing of a shape whose step failed, so that smaller batches get one of their own."""
        shape.release()
        self._shapes.remove(shape)

    def _release_below(self, size: int) -> None:
        for shape in self._shapes:
            if shape.size < size:
                shape.release()
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
