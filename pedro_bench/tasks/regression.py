"""Regression as text: the answer is a number on a scale, such as the similarity of two sentences.

The number is trained as text, rounded to a step (for STS-B, 0.2 as in T5; of a number midway between two,
to the higher, where T5 takes the even one: 2.5 becomes 2.6, but 4.1, which is no binary fraction, 4.0), and
scored against the official value by Pearson's and Spearman's correlation. An answer that is no number of
the scale counts as one step below the scale's lower end, whatever the gold is, and is reported as
`invalid`: answers that are no numbers at all correlate with nothing.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

from pedro_bench import checks
from pedro_bench.data.fields import value_of, wrong_label
from pedro_bench.data.prompt import PromptedTask, first_line, identity_of
from pedro_bench.errors import ConfigError
from pedro_bench.metrics.classification import check_lengths, pearson, spearman
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.task import Example, Metric, Row

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_MOST_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Regression(PromptedTask):
    """A pair of texts, and a number that says how they relate.

    Attributes:
        least: Lower end of the scale.
        most: Upper end of the scale, above `least`.
        step: What numbers are rounded to for training; the scale is a whole number of steps. Texts have
            as many decimals as it and `least` need, at least one and at most six.
        label_field: Field that holds the number.
    """

    least: float
    most: float
    step: float
    label_field: str = "label"

    main_metric: ClassVar[str] = "pearson"
    metric_functions: ClassVar[tuple[Metric, ...]] = (pearson, spearman)
    is_closed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("task.label_field", self.label_field)
        checks.number("task.least", self.least)
        checks.number("task.most", self.most, above=self.least)
        checks.number("task.step", self.step, above=0.0, most=self.most - self.least)
        steps = (self.most - self.least) / self.step
        if abs(steps - round(steps)) > 1e-9:
            raise ConfigError(
                "task.step must divide the scale from task.least to task.most, got "
                f"{self.step!r} for {self.least!r} to {self.most!r}."
            )
        if self._decimals > _MOST_DECIMALS:
            raise ConfigError(
                f"task.step and task.least must have at most {_MOST_DECIMALS} decimals, got "
                f"{self.step!r} and {self.least!r}."
            )

    @cached_property
    def _decimals(self) -> int:
        """Decimals that the numbers of the grid need to differ, at least one."""
        exponents = [
            Decimal(repr(one)).normalize().as_tuple().exponent for one in (self.step, self.least)
        ]
        return max(1, *(-int(exponent) for exponent in exponents))

    @property
    def gold_field(self) -> str:
        """The field of `task.label_field`."""
        return self.label_field

    @property
    def grid(self) -> tuple[str, ...]:
        """The numbers that can be trained, as text, from the lower end."""
        steps = round((self.most - self.least) / self.step)
        return tuple(self._text(self.least + step * self.step) for step in range(steps + 1))

    @property
    def answers(self) -> tuple[str, ...]:
        """The numbers of the grid."""
        return self.grid

    @property
    def head(self) -> Head:
        """One output, the number itself."""
        return Head(least=self.least, most=self.most)

    def example(self, row: Row) -> Example:
        """Fill in the prompt; the answer is rounded, the gold is the official value."""
        values = self.texts(row)
        given = value_of(row, self.label_field, self.aliases)
        number = self._number(str(given).strip())
        if isinstance(given, bool) or number is None:
            rule = f"a number from {self.least:g} to {self.most:g}"
            raise wrong_label(self.label_field, rule, given)
        steps = math.floor((number - self.least) / self.step + 0.5)
        answer = self._text(self.least + steps * self.step)
        return Example(
            self.template.parts(values),
            answer,
            (repr(number),),
            identity_of(values),
            candidates=self.grid,
        )

    def _text(self, number: float) -> str:
        return f"{number:.{self._decimals}f}"

    def _number(self, text: str) -> float | None:
        """Return the number that a text is, if it lies on the scale."""
        try:
            number = float(text)
        except ValueError:
            return None
        return number if self.least <= number <= self.most else None

    def extract(self, text: str, example: Example) -> str:
        """Return the number that the first line begins with, else the line itself."""
        line = first_line(text)
        found = _NUMBER.match(line)
        return found.group() if found else line

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Return Pearson's and Spearman's correlation, and answers off the scale, in percent."""
        check_lengths(len(predictions), len(examples))
        golds = [float(example.golds[0]) for example in examples]
        found: list[Any] = [self._number(text) for text in predictions]
        given = [self.least - self.step if number is None else number for number in found]
        return {
            "pearson": pearson(given, golds),
            "spearman": spearman(given, golds),
            "invalid": 100.0 * sum(number is None for number in found) / len(found),
        }
