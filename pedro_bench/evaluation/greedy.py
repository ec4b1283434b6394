"""Greedy decoding by Transformers' `generate`, which is called again for the rows that have not ended yet.

`generate` computes every row of a batch until the last one has ended. Here it pauses once half of the rows
have ended; those leave the cache and the context, and the rest goes on. A smaller batch moves results by
rounding alone. A model whose cache holds something else than keys and values is decoded in one call.

Legend: B rows that go on, T tokens so far, T' tokens of the input of one call.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pedro_bench.evaluation.batches import Adapted, padded
from pedro_bench.evaluation.growing_cache import GrowingCache
from pedro_bench.evaluation.rules import NoRepeatNGrams, StopTexts
from pedro_bench.protocols.cache import CACHE


class Pause(StoppingCriteria):  # type: ignore[misc]  # the base class is Any to the checker
    """Ends the rows that are done, and all of them for now once half are.

    Args:
        earlier_BT: The rows' tokens before the first column of the call's input.
        ends: Tokens that end an answer.
        stop: Ends rows by the text they hold, or None.
        pauses: Whether to end the call early.

    Attributes:
        done_B: Whether each row has ended.
    """

    def __init__(
        self, earlier_BT: Tensor, ends: Sequence[int], stop: StopTexts | None, *, pauses: bool
    ) -> None:
        self.done_B = torch.zeros(len(earlier_BT), dtype=torch.bool, device=earlier_BT.device)
        self._earlier_BT = earlier_BT
        self._ends = torch.tensor(list(ends), device=earlier_BT.device)
        self._stop = stop
        self._pauses = pauses

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Return for each row (B,) whether this call ends it."""
        self.done_B = self.done_B | torch.isin(input_ids[:, -1], self._ends)
        if self._stop is not None:
            whole_BT = torch.cat([self._earlier_BT, input_ids], dim=1)
            self.done_B = self.done_B | self._stop(whole_BT, scores)
        if self._pauses and 2 * int(self.done_B.sum()) >= len(self.done_B):
            return torch.ones_like(self.done_B)
        return self.done_B


def decode_greedily(
    adapted: Adapted,
    prompts: Sequence[Sequence[int]],
    settings: GenerationConfig,
    stop: Sequence[str],
    no_repeat_ngram_size: int,
) -> list[list[int]]:
    """Return the new tokens of each prompt, tokens behind the end of a row included.

    Args:
        adapted: The adapted model of a decoder, in evaluation mode.
        prompts: Token ids of each prompt.
        settings: Settings with one beam; `max_new_tokens` is the longest answer.
        stop: Texts that end a row, none empty.
        no_repeat_ngram_size: As in Transformers, the prompt included; 0 for no rule.
    """
    backbone = adapted.backbone
    ids_BT, mask_BT = padded(prompts, int(settings.pad_token_id), left=True, device=backbone.device)
    width = ids_BT.shape[1]
    rows = list(range(len(prompts)))
    answers: list[list[int]] = [[] for _ in prompts]
    cache = GrowingCache() if _has_keys_and_values_alone(backbone.model) else None
    with adapted.context(mask_BT).active() as context:
        given_BT = ids_BT  # the input of a call: the prompts, then each row's newest token
        while rows:
            rest = copy(settings)
            rest.max_new_tokens = settings.max_new_tokens - (ids_BT.shape[1] - width)
            earlier_BT = ids_BT[:, : ids_BT.shape[1] - given_BT.shape[1]]
            stop_texts = StopTexts(backbone.tokenizer, width, stop) if stop else None
            pause = Pause(earlier_BT, settings.eos_token_id, stop_texts, pauses=cache is not None)
            options: dict[str, Any] = {"stopping_criteria": StoppingCriteriaList([pause])}
            if cache is not None:
                options[CACHE] = cache
            if no_repeat_ngram_size:
                so_far = [(*prompts[row], *answers[row]) for row in rows]
                rule = NoRepeatNGrams(no_repeat_ngram_size, so_far, given_BT.shape[1])
                options["logits_processor"] = LogitsProcessorList([rule])
            positions_BT = (mask_BT.long().cumsum(1) - 1).clamp(min=0)
            output_BT = backbone.model.generate(
                input_ids=given_BT,
                attention_mask=mask_BT.long(),
                position_ids=positions_BT[:, -given_BT.shape[1] :],
                generation_config=rest,
                **options,
            )
            new_BT = output_BT[:, given_BT.shape[1] :]
            for row, tokens in zip(rows, new_BT.tolist(), strict=True):
                answers[row] += tokens
            left = (~pause.done_B).nonzero()[:, 0]
            if not len(left) or new_BT.shape[1] == rest.max_new_tokens or cache is None:
                break
            rows = [rows[at] for at in left.tolist()]
            ids_BT = torch.cat([ids_BT, new_BT], dim=1)[left]
            mask_BT = torch.cat([mask_BT, torch.ones_like(new_BT, dtype=torch.bool)], dim=1)[left]
            given_BT = ids_BT[:, -1:]
            context.select(left)
            cache.batch_select_indices(left)
    return answers


def _has_keys_and_values_alone(model: Any) -> bool:
    """Tell whether a cache of keys and values is all that the model keeps between two tokens."""
    layers = DynamicCache(config=model.config).layers
    return not getattr(model, "_is_stateful", False) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )
