"""The one training loop: every method goes through it, and it names none.

Each step: one architecture step where the method is bilevel, then the weights' step (accumulate,
clip, AdamW, the method's `after_step`). Every `eval_every_steps` the dev loss decides which adapter
is best (of those that the method lets be) and whether the patience is used up. A run that was
killed goes on from its newest checkpoint with the same bits on the same machine: weights,
optimisers, random states, history, the method's own state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import check_positions
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.training import machine
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.loop import TrainingLoop
from pedro_bench.training.result import TrainResult

if TYPE_CHECKING:
    from pedro_bench.training.tracker import Tracker


def train(
    adapted: AdaptedModel,
    *,
    train: Sequence[Encoded],
    dev: Sequence[Encoded],
    config: TrainerConfig,
    official_train_rows: int,
    seed: int,
    key: str,
    folder: Path,
    tracker: "Tracker | None" = None,
    phase: int = 0,
) -> TrainResult:
    """Train an adapted model, or go on where a killed run stopped; the best adapter ends up loaded.

    Afterwards `adapted.method.following(adapted.adapter)` tells whether another phase is due; it is
    trained on a fresh adapted model with `phase` raised by one. A phase that had finished before
    the run was killed is not trained again.

    Args:
        adapted: The backbone with the method attached, its parameters freshly initialised by the
            caller (from the run's seed).
        train: Training rows; each with an answer.
        dev: Dev rows; each with an answer.
        config: The protocol.
        official_train_rows: Rows of the official training split, for the paper's batch-size rule.
        seed: The run's seed; decides batch order, dropout and hold-out.
        key: The run's key; a checkpoint of another key is refused.
        folder: The run's working folder.
        tracker: Where curves go, or None.
        phase: Number of this training phase, from 0.

    Raises:
        DataError: If a split has no rows, or a row has no answer or exceeds the backbone's positions.
        ConfigError: If gradient checkpointing is asked of a method that cannot do it.
        RecordError: If the folder holds another run's checkpoints.
        TrainingError: If the loss or a gradient is not finite, memory runs out, or the folder
            cannot be written; one sentence with the remedy.
    """
    for split, rows in (("train", train), ("dev", dev)):
        _check_rows(split, rows)
        check_positions(adapted, max(map(len, rows)))
    if config.gradient_checkpointing:
        adapted.enable_gradient_checkpointing()
    loop = TrainingLoop(
        adapted,
        rows=(train, dev),
        config=config,
        batch_size=config.resolved_batch_size(official_train_rows),
        identity=(key, seed, phase),
        folder=folder,
        tracker=tracker,
    )
    with machine.deterministic(adapted.backbone.device):
        return loop.run()


def _check_rows(split: str, rows: Sequence[Encoded]) -> None:
    if not rows:
        raise DataError(f"the {split} split must have at least 1 row, got 0.")
    for row in rows:
        if not row.answer_ids:
            raise DataError(
                f"every row of the {split} split must have an answer, got none in row {row.index}."
            )
