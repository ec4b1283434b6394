"""Scores of continuations: log-likelihood, and whether greedy decoding would say the same.

Continuations of one context that differ in their last token only (the four letters of a multiple
choice) share one pass through the model.

Legend: N answer tokens of a pass, C continuations that share it, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pedro_bench.data.batching import collate
from pedro_bench.evaluation.batches import (
    Adapted,
    Progress,
    by_length,
    check_positions,
    evaluating,
)
from pedro_bench.instruct.contexts import Ids
from pedro_bench.protocols.batch import Encoded

Score = tuple[float, bool]


def score_continuations(
    adapted: Adapted,
    pairs: Sequence[tuple[Ids, Ids]],
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> list[Score]:
    """Return (log p(continuation | context) in nats, whether every token is the likeliest).

    Args:
        adapted: The adapted model; its training mode is as before afterwards.
        pairs: Ids of context and continuation, at least one each; the context is the prompt.
        batch_size: Passes made together; does not change any result.
        progress: Called after each batch with the numbers of finished and of all passes.

    Raises:
        DataError: If a pair exceeds the backbone's positions.
        TrainingError: If the device runs out of memory.
    """
    shared: dict[tuple[Ids, Ids], list[int]] = {}
    for position, (context, continuation) in enumerate(pairs):
        shared.setdefault((context, continuation[:-1]), []).append(position)
    members = list(shared.values())
    passes = [Encoded(*pairs[positions[0]], number) for number, positions in enumerate(members)]
    check_positions(adapted, max((len(one) for one in passes), default=0))
    scores: list[Score] = [(0.0, False)] * len(pairs)
    pad = int(adapted.backbone.tokenizer.pad_token_id)
    done = 0
    with evaluating(adapted, batch_size):
        for rows in by_length([len(one) for one in passes], batch_size):
            chosen = [passes[row] for row in rows]
            batch = collate(chosen, pad, "right").to(adapted.backbone.device)
            logits_NV, _ = adapted.answer_logits(batch)
            parts = torch.split(logits_NV, [len(one.answer_ids) for one in chosen])
            for row, part_NV in zip(rows, parts, strict=True):
                continuations = [pairs[position][1] for position in members[row]]
                found = _score(part_NV, continuations)
                for position, score in zip(members[row], found, strict=True):
                    scores[position] = score
            done += len(rows)
            if progress is not None:
                progress(done, len(passes))
    return scores


def _score(logits_NV: Tensor, continuations: Sequence[Ids]) -> list[Score]:
    """Score continuations that share all tokens but the last."""
    logprobs_NV = logits_NV.float().log_softmax(dim=-1)
    likeliest_N = logits_NV.argmax(dim=-1)
    labels_CN = torch.tensor(continuations, device=logits_NV.device)
    places_N = torch.arange(len(logits_NV), device=logits_NV.device)
    chosen_CN = logprobs_NV[places_N, labels_CN]
    sums = chosen_CN.double().sum(dim=1).tolist()
    greedy = (labels_CN == likeliest_N).all(dim=1).tolist()
    return list(zip(sums, greedy, strict=True))
