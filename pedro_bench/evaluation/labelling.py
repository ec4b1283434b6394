"""Label texts with an encoder's head."""

from collections.abc import Sequence
from typing import Protocol

from pedro_bench.evaluation.batches import Adapted, by_length, check_positions, evaluating, padded
from pedro_bench.protocols.batch import IGNORED, Batch, Encoded


class Labeller(Adapted, Protocol):
    """The part of an adapted model that labelling uses as well."""

    def labels(self, batch: Batch) -> list[str]:
        """What the head says of each example of a batch."""


def label(
    adapted: Labeller,
    rows: Sequence[Encoded],
    *,
    batch_size: int,
) -> list[str]:
    """Return what the head says of each text, as the text that a decoder would have written.

    Args:
        adapted: The adapted encoder; its training mode is as before afterwards.
        rows: Encoded texts; their labels are not looked at.
        batch_size: Texts labelled together.

    Raises:
        ConfigError: If `batch_size` is no whole number of at least 1.
        DataError: If a text exceeds the backbone's positions.
        TrainingError: If the device runs out of memory.
    """
    check_positions(adapted, max((len(row.prompt_ids) for row in rows), default=0))
    answers = [""] * len(rows)
    backbone = adapted.backbone
    with evaluating(adapted, batch_size):
        for chosen in by_length([len(row.prompt_ids) for row in rows], batch_size):
            ids_BT, mask_BT = padded(
                [rows[row].prompt_ids for row in chosen],
                int(backbone.tokenizer.pad_token_id),
                left=False,
                device=backbone.device,
            )
            labels_BT = ids_BT.new_full(ids_BT.shape, IGNORED)
            batch = Batch(ids_BT, mask_BT, mask_BT, labels_BT)
            for row, said in zip(chosen, adapted.labels(batch), strict=True):
                answers[row] = said
    return answers
