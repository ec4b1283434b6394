"""Log-likelihood of given answers: the sum of the log-probabilities of the answer's tokens.

Legend: B examples, T tokens, N answer tokens of the batch, V vocabulary.
"""

from collections.abc import Sequence

import torch

from pedro_bench.errors import DataError
from pedro_bench.evaluation.batches import (
    Adapted,
    by_length,
    check_positions,
    evaluating,
    padded,
)
from pedro_bench.protocols.batch import IGNORED, Batch, Encoded


def loglikelihood(adapted: Adapted, pairs: Sequence[Encoded], *, batch_size: int) -> list[float]:
    """Return log p(answer | prompt) of each pair, in nats, end-of-sequence token included if given.

    Args:
        adapted: The adapted model; its training mode is as before afterwards.
        pairs: Encoded prompts with answers of at least one token.
        batch_size: Pairs scored together; does not change any result.

    Returns:
        One number, at most 0, for each pair, in the order of `pairs`.

    Raises:
        DataError: If a pair has no answer, or exceeds the backbone's positions.
        TrainingError: If the device runs out of memory.
    """
    for position, pair in enumerate(pairs):
        if not pair.answer_ids:
            raise DataError(
                f"every pair must have an answer to be scored, got none at position {position}."
            )
    check_positions(adapted, max((len(pair) for pair in pairs), default=0))
    scores = [0.0] * len(pairs)
    with evaluating(adapted, batch_size):
        for rows in by_length([len(pair) for pair in pairs], batch_size):
            for row, score in zip(rows, _score(adapted, [pairs[i] for i in rows]), strict=True):
                scores[row] = score
    return scores


def _score(adapted: Adapted, pairs: Sequence[Encoded]) -> list[float]:
    """Score one batch, padded on the right."""
    logits_NV, labels_N = adapted.answer_logits(_batch(adapted, pairs))
    chosen_N = logits_NV.float().log_softmax(dim=-1).gather(1, labels_N[:, None])[:, 0]
    lengths = [len(pair.answer_ids) for pair in pairs]
    return [float(part.double().sum()) for part in torch.split(chosen_N.cpu(), lengths)]


def _batch(adapted: Adapted, pairs: Sequence[Encoded]) -> Batch:
    """Pad whole examples on the right, with their answers as labels."""
    backbone = adapted.backbone
    pad, device = int(backbone.tokenizer.pad_token_id), backbone.device
    ids_BT, mask_BT = padded(
        [pair.prompt_ids + pair.answer_ids for pair in pairs], pad, left=False, device=device
    )
    columns_T = torch.arange(ids_BT.shape[1], device=device)
    prompt_lengths_B = torch.tensor([len(pair.prompt_ids) for pair in pairs], device=device)
    prompt_mask_BT = columns_T < prompt_lengths_B[:, None]
    labels_BT = ids_BT.masked_fill(~mask_BT | prompt_mask_BT, IGNORED)
    return Batch(ids_BT, mask_BT, prompt_mask_BT, labels_BT, tuple(pair.index for pair in pairs))
