"""Greedy decoding by Transformers' `generate`, which is called again for the rows that have not ended yet.

`generate` computes every row of a batch until the last one has ended. Here it pauses once half of the rows
have ended; those leave the cache and the context, and the rest goes on. A smaller batch moves results by
rounding alone. One call decodes all where that is not so: where a model's cache holds something else than
keys and values, where its rotary embeddings depend on the longest row of the batch, and where it goes on
from another cache than the one it was given, as static steps do (`serving.fast_decoding`).

Legend: B rows that go on, T tokens so far, T' tokens of the input of one call.
"""

from collections.abc import Mapping, Sequence
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
from pedro_bench.evaluation.rules import NoRepeatNGrams, Numbers, StopTexts
from pedro_bench.protocols.batch import positions_of
from pedro_bench.protocols.cache import CACHE

_BY_LONGEST = frozenset({"dynamic", "longrope"})
"""Kinds of rotary embeddings whose angles depend on how long the batch's longest row is."""


class Pause(StoppingCriteria):  # type: ignore[misc]  # the base class is Any to the checker
    """Ends the rows that are done, and all of them for now once half are.

    Args:
        earlier_BT: The rows' tokens before the first column of the call's input.
        ends: Tokens that end an answer.
        stop: Ends rows by the text they hold, or None.
        cache: What the rest goes on from, or None to decode all in one call.

    Attributes:
        done_B: Whether each row has ended.
    """

    def __init__(
        self,
        earlier_BT: Tensor,
        ends: Sequence[int],
        stop: StopTexts | None,
        cache: GrowingCache | None,
    ) -> None:
        self.done_B = torch.zeros(len(earlier_BT), dtype=torch.bool, device=earlier_BT.device)
        self._earlier_BT = earlier_BT
        self._ends = torch.tensor(list(ends), device=earlier_BT.device)
        self._stop = stop
        self._cache = cache
        self._has_paused = False

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Return for each row (B,) whether this call ends it."""
        if self._has_paused:  # Transformers may compute one token more and drop it again
            return torch.ones_like(self.done_B)
        self.done_B = self.done_B | torch.isin(input_ids[:, -1], self._ends)
        whole_BT = torch.cat([self._earlier_BT, input_ids], dim=1)
        if self._stop is not None:
            self.done_B = self.done_B | self._stop(whole_BT, scores)
        is_half = 2 * int(self.done_B.sum()) >= len(self.done_B)
        self._has_paused = is_half and self._holds_all_before(whole_BT.shape[1] - 1)
        return torch.ones_like(self.done_B) if self._has_paused else self.done_B

    def _holds_all_before(self, length: int) -> bool:
        """Whether the cache is the one that the model goes on from."""
        return self._cache is not None and self._cache.get_seq_length() == length


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
    cache = GrowingCache() if _may_lose_rows(backbone.model) else None
    with adapted.context(mask_BT).active() as context:
        given_BT = ids_BT  # the input of a call: the prompts, then each row's newest token
        while rows:
            rest = copy(settings)
            rest.max_new_tokens = settings.max_new_tokens - (ids_BT.shape[1] - width)
            earlier_BT = ids_BT[:, : ids_BT.shape[1] - given_BT.shape[1]]
            stop_texts = StopTexts(backbone.tokenizer, width, stop) if stop else None
            pause = Pause(earlier_BT, settings.eos_token_id, stop_texts, cache)
            rules = LogitsProcessorList([Numbers(adapted)])
            if no_repeat_ngram_size:
                so_far = [(*prompts[row], *answers[row]) for row in rows]
                rules.append(NoRepeatNGrams(no_repeat_ngram_size, so_far, given_BT.shape[1]))
            options: dict[str, Any] = {"stopping_criteria": StoppingCriteriaList([pause])}
            if cache is not None:
                options[CACHE] = cache
            output_BT = backbone.model.generate(
                input_ids=given_BT,
                attention_mask=mask_BT.long(),
                position_ids=positions_of(mask_BT)[:, -given_BT.shape[1] :],
                generation_config=rest,
                logits_processor=rules,
                **options,
            )
            new_BT = output_BT[:, given_BT.shape[1] :]
            for row, tokens in zip(rows, new_BT.tolist(), strict=True):
                answers[row] += tokens
            left = (~pause.done_B).nonzero()[:, 0]
            if not len(left) or new_BT.shape[1] == rest.max_new_tokens:
                break
            assert cache is not None, "without one nothing pauses"
            rows = [rows[at] for at in left.tolist()]
            ids_BT = torch.cat([ids_BT, new_BT], dim=1)[left]
            mask_BT = torch.cat([mask_BT, torch.ones_like(new_BT, dtype=torch.bool)], dim=1)[left]
            given_BT = ids_BT[:, -1:]
            context.select(left)
            cache.batch_select_indices(left)
    return answers


def _may_lose_rows(model: Any) -> bool:
    """Whether keys and values are all that a model keeps between two tokens, and a row's own alone."""
    config = model.config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    return (
        not getattr(model, "_is_stateful", False)
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        and not _rotary_kinds(config) & _BY_LONGEST
    )


def _rotary_kinds(config: Any) -> set[str]:
    """Return the kinds of rotary embeddings in a configuration, where each kind of layer may have its own."""
    given = getattr(config, "rope_parameters", None) or {}
    parts = [given, *(part for part in given.values() if isinstance(part, Mapping))]
    return {str(part["rope_type"]) for part in parts if part.get("rope_type")}
