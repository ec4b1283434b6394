"""Learner: one level's parameters with their optimiser and batches; bilevel training has two.

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
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.optimiser import build_optimiser, set_lr
from pedro_bench.training.steps import BatchOrder, order_seed

WEIGHTS = "weights"
ARCHITECTURE = "architecture"
HELD_PARTS = {"train_holdout": 10, "train_half": 2}
"""One in so many training rows goes to the architecture."""


@dataclass(frozen=True)
class Level:
    """One group of parameters, `weights` or `architecture`, with the rows that its batches are drawn from."""

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
    """Split rows into those of the weights and a seeded part (HELD_PARTS) for the architecture, in order."""
    if len(rows) < 2:
        raise DataError(
            f"the train split must have at least 2 rows for method.bilevel={bilevel}, got {len(rows)}."
        )
    size = max(1, len(rows) // HELD_PARTS[bilevel])
    held = set(random.Random(derive(seed, "holdout")).sample(range(len(rows)), size))
    kept = [index for index in range(len(rows)) if index not in held]
    return Chosen(rows, kept), Chosen(rows, sorted(held))


class Chosen(Sequence[Encoded]):
    """Some of the rows, by their indices, read from where all of them lie packed."""

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
        raise TrainingError(
            "a method's weights group must hold at least one parameter, got none: give each module with "
            "parameters to injection.add in the method's attach."
        )
    if len(set(members)) != len(members):
        raise TrainingError("a parameter must stand in one parameter group once, got it twice.")


class Learner:
    """What updates one level: AdamW over its parameters, with the order of its batches.

    `lr` is the level's highest learning rate.
    """

    def __init__(
        self,
        level: Level,
        config: TrainerConfig,
        lr: float,
        batch_size: int,
        seed: int,
        phase: int,
    ) -> None:
        is_architecture = level.name == ARCHITECTURE
        self.level = level
        self.lr = lr
        self.optimiser = build_optimiser(
            level.parameters,
            config,
            weight_decay=(
                config.architecture_weight_decay if is_architecture else config.weight_decay
            ),
            decays_vectors=is_architecture or config.decays_vectors,
        )
        self.order = BatchOrder(
            level.rows,
            batch_size,
            order_seed(seed, level.name, phase),
            group_by_length=config.group_by_length,
        )

    def step(self, factor: float) -> None:
        """Update the parameters from their gradients, at a factor of the highest learning rate."""
        set_lr(self.optimiser, self.lr * factor)
        self.optimiser.step()
