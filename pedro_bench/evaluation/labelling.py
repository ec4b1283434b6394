"""Label texts with an encoder's head."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from pedro_bench.evaluation.batches import Adapted, by_length, evaluating, padded
from pedro_bench.protocols.batch import IGNORED, Batch, Encoded
from pedro_bench.protocols.head import Head


class Labeller(Adapted, Protocol):
    """The part of an adapted model that labelling uses as well."""

    def outputs(self, batch: Batch) -> Tensor:
        """Outputs (B, C) of the head."""


def label(
    adapted: Labeller,
    head: Head,
    rows: Sequence[Encoded],
    *,
    batch_size: int,
) -> list[str]:
    """Return what the head says of each text, as the text that a decoder would have written.

    Args:
        adapted: The adapted encoder; its training mode is as before afterwards.
        head: What the outputs mean.
        rows: Encoded texts; their labels are not looked at.
        batch_size: Texts labelled together.

    Raises:
        TrainingError: If the device runs out of memory.
    """
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
            for row, outputs in zip(chosen, adapted.outputs(batch).tolist(), strict=True):
                answers[row] = head.answer(outputs)
    return answers
