"""Learner: one level's parameters with their optimiser and the order of their batches."""

from pedro_bench.training.bilevel import ARCHITECTURE, Level
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.optimiser import build_optimiser, set_lr
from pedro_bench.training.steps import BatchOrder, order_seed


class Learner:
    """What updates one level.

    Args:
        level: The parameters and their rows.
        config: The protocol.
        lr: Highest learning rate of this level.
        batch_size: Examples per step.
        seed: The run's seed.
        phase: Number of the training phase.

    Attributes:
        level: As given.
        lr: As given.
        optimiser: AdamW over the level's parameters.
        order: Its batches.
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
            decays_vectors=is_architecture,
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
