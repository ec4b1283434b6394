"""Bilevel training: which parameters learn on which rows.

First-order DARTS (arXiv:1806.09055) with alternating steps: before each step of the `weights` on a
batch of the training rows, one step of the `architecture` parameters on a batch of the validation
rows, each with its own AdamW. Where a method has no architecture group, or its `bilevel` is `none`,
one optimiser updates all parameters on the training rows.

`validation` takes the architecture's rows from the dev split (the paper's words). `train_holdout`
takes a seeded tenth of the training rows and `train_half` a seeded half of them (DARTS' own choice),
which the weights then never see.
"""

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from torch.nn import Parameter

from pedro_bench.errors import DataError, TrainingError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.seeding import derive

WEIGHTS = "weights"
ARCHITECTURE = "architecture"
HELD_PARTS = {"train_holdout": 10, "train_half": 2}
"""One in so many training rows goes to the architecture."""


@dataclass(frozen=True)
class Level:
    """One group of parameters with the rows it learns on.

    Attributes:
        name: `weights` or `architecture`.
        parameters: What this level's optimiser updates.
        rows: What its batches are drawn from.
    """

    name: str
    parameters: tuple[Parameter, ...]
    rows: Sequence[Encoded]


def levels(
    groups: Mapping[str, Sequence[Parameter]],
    bilevel: str,
    train: Sequence[Encoded],
    dev: Sequence[Encoded],
    seed: int,
) -> tuple[Level, ...]:
    """Return the levels in the order of their steps: architecture first, weights last.

    Args:
        groups: A method's `parameter_groups`.
        bilevel: A method's `bilevel`.
        train: Training rows.
        dev: Dev rows.
        seed: The run's seed, for the hold-out.

    Raises:
        TrainingError: If a group has an unknown name, shares a parameter or the weights are empty.
        DataError: If there are too few training rows to hold some out.
    """
    _check_groups(groups)
    weights, architecture = groups.get(WEIGHTS, ()), groups.get(ARCHITECTURE, ())
    if bilevel == "none" or not architecture:
        return (Level(WEIGHTS, (*weights, *architecture), train),)
    if bilevel == "validation":
        weight_rows, architecture_rows = train, dev
    else:
        weight_rows, architecture_rows = hold_out(train, seed, bilevel)
    return (
        Level(ARCHITECTURE, tuple(architecture), architecture_rows),
        Level(WEIGHTS, tuple(weights), weight_rows),
    )


def hold_out(
    rows: Sequence[Encoded], seed: int, bilevel: str
) -> tuple[Sequence[Encoded], Sequence[Encoded]]:
    """Split rows into those of the weights and a seeded part for the architecture, order kept.

    Args:
        rows: Training rows.
        seed: The run's seed.
        bilevel: One of HELD_PARTS.

    Raises:
        DataError: If there are fewer than two rows.
    """
    if len(rows) < 2:
        raise DataError(
            f"the train split must have at least 2 rows for method.bilevel={bilevel}, got {len(rows)}."
        )
    size = max(1, len(rows) // HELD_PARTS[bilevel])
    held = set(random.Random(derive(seed, "holdout")).sample(range(len(rows)), size))
    kept = [index for index in range(len(rows)) if index not in held]
    return Chosen(rows, kept), Chosen(rows, sorted(held))


class Chosen(Sequence[Encoded]):
    """Some of the rows, read from where all of them lie packed.

    Args:
        rows: All rows.
        indices: Which of them, in order.
    """

    def __init__(self, rows: Sequence[Encoded], indices: Sequence[int]) -> None:
        self._rows, self._indices = rows, array("i", indices)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> list[Encoded]: ...
    def __getitem__(self, place: int | slice) -> Encoded | list[Encoded]:
        if isinstance(place, slice):
            return [self._rows[index] for index in self._indices[place]]
        return self._rows[self._indices[place]]


def _check_groups(groups: Mapping[str, Sequence[Parameter]]) -> None:
    unknown = set(groups) - {WEIGHTS, ARCHITECTURE}
    if unknown:
        raise TrainingError(
            "a method's parameter groups must be named weights or architecture, got "
            f"{', '.join(sorted(unknown))}."
        )
    members = [id(parameter) for group in groups.values() for parameter in group]
    if not groups.get(WEIGHTS):
        raise TrainingError("a method's weights group must hold at least one parameter, got none.")
    if len(set(members)) != len(members):
        raise TrainingError("a parameter must stand in one parameter group once, got it twice.")
