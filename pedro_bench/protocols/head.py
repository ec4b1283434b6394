"""Head: what an encoder is trained to say of a whole text, one of some labels or a number on a scale.

A decoder writes its answer; an encoder scores it with a head on its first token's hidden state, as the RED
paper's code has it. A task whose answers are closed says what its head is (`Task.head`). Labels travel
through batches as one whole number an example, in the place of the answer's tokens, and predictions come
back as the text that a decoder would have written, so data, metrics and records are the same for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from pedro_bench.errors import NOT_NUMBERS, TrainingError
from pedro_bench.protocols.task import Example

PARTS_OF_ONE = 1_000_000
"""A number on a scale travels as a whole number of millionths above the scale's lower end."""


@dataclass(frozen=True)
class Head:
    """The outputs of a head.

    Attributes:
        labels: The label words, one output each; empty: one output, a number.
        least: Lower end of the number's scale.
        most: Its upper end.
    """

    labels: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0

    @property
    def num_outputs(self) -> int:
        """Labels, or 1 for a number."""
        return len(self.labels) or 1

    def code(self, example: Example) -> int:
        """Return an example's label as a whole number: its place among the labels, or millionths."""
        if self.labels:
            return self.labels.index(example.answer)
        return round((float(example.golds[0]) - self.least) * PARTS_OF_ONE)

    def answer(self, outputs: Sequence[float]) -> str:
        """Return what the outputs say, as text: the label of the highest, or the number on its scale.

        Raises:
            TrainingError: If an output is infinite or not a number.
        """
        if not all(map(isfinite, outputs)):
            raise TrainingError(
                f"a head's outputs must be finite numbers, got {list(outputs)}: {NOT_NUMBERS}."
            )
        if self.labels:
            return self.labels[max(range(len(outputs)), key=outputs.__getitem__)]
        return f"{min(max(outputs[0], self.least), self.most):.6f}"
