"""Label texts with an encoder's head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from pedro_bench.evaluation.batches import Adapted, by_length, check_positions, evaluating
from pedro_bench.protocols.batch import Batch, Encoded, collate


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
        TrainingError: If the device runs out of memory, or an output is not a number.
    """
    check_positions(adapted, max((len(row.prompt_ids) for row in rows), default=0))
    answers = [""] * len(rows)
    backbone = adapted.backbone
    with evaluating(adapted, batch_size):
        for chosen in by_length([len(row.prompt_ids) for row in rows], batch_size):
            texts = [replace(rows[row], answer_ids=()) for row in chosen]
            batch = collate(texts, int(backbone.tokenizer.pad_token_id)).to(backbone.device)
            for row, said in zip(chosen, adapted.labels(batch), strict=True):
                answers[row] = said
    return answers
