"""`train`: check what is given, and let the one loop train it or go on where a killed run stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import check_positions
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.training import machine
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.loop import TrainingLoop
from pedro_bench.training.state import TrainResult

if TYPE_CHECKING:
    from pedro_bench.training.tracking import Tracker


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
    dev_score: Callable[[], float] | None = None,
    lower_is_better: bool = False,
) -> TrainResult:
    """Train an adapted model, or go on where a killed run stopped; the best adapter ends up loaded.

    Afterwards `adapted.method.following(adapted.adapter)` says whether another phase is due; it is
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
        dev_score: Returns the main metric of the adapted model on the dev rows that count, in percent;
            needed where `config.is_best_by_metric`, else not called.
        lower_is_better: Whether the least dev score is the best.

    Raises:
        DataError: If a split has no rows, or a row has no answer or exceeds the backbone's positions.
        ConfigError: If gradient checkpointing is asked of a method that cannot do it.
        RecordError: If the folder holds another run's checkpoints.
        TrainingError: If the loss or a gradient is not finite, memory runs out, or the folder
            cannot be written; one sentence with the remedy.
    """
    if config.is_best_by_metric and dev_score is None:
        raise TypeError("train needs `dev_score` where the main metric decides")
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
        dev_score=dev_score if config.is_best_by_metric else None,
        lower_is_better=lower_is_better,
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
