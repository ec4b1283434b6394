"""Rules that `generate` follows: where a text ends, which tokens may not come twice, that scores are numbers.

Legend: B examples, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor, StoppingCriteria

from pedro_bench.evaluation.batches import Adapted, check_numbers

_SPARE_TOKENS = 4
"""Tokens read beyond a stop text's bytes: no token that adds text is shorter than a byte."""


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop text in it."""
    for one in stop:
        text = text.partition(one)[0]
    return text


class StopTexts(StoppingCriteria):  # type: ignore[misc]  # the base class is Any to the checker
    """Ends each row whose newest tokens, behind the padded prompt, hold a stop text (none is empty)."""

    def __init__(self, tokenizer: Any, prompt_width: int, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._prompt_width = prompt_width
        self._stop = tuple(stop)
        self._tail = max(len(one.encode()) for one in stop) + _SPARE_TOKENS

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Return for each row (B,) whether it is done."""
        first = max(self._prompt_width, input_ids.shape[1] - self._tail)
        texts = self._tokenizer.batch_decode(
            input_ids[:, first:].tolist(),
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        done = [any(one in text for one in self._stop) for text in texts]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


class Numbers(LogitsProcessor):  # type: ignore[misc]  # the base class is Any to the checker
    """Refuses scores of which none is the highest number: NaN, or an infinite one."""

    def __init__(self, adapted: Adapted) -> None:
        self._adapted = adapted

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (rows, V) as they are; a token may be banned by -inf.

        Raises:
            TrainingError: If a row's highest score is not finite.
        """
        check_numbers(self._adapted, scores.amax(dim=-1), "logits")
        return scores


class NoRepeatNGrams(LogitsProcessor):  # type: ignore[misc]  # the base class is Any to the checker
    """Transformers' rule for each row's own prompt and answer.

    `generate` sees the prompt padded, or of several beams only its last token; both would change which
    sequences have been there before.

    Args:
        size: Length of the token sequences of which none comes twice.
        prompts: Each example's prompt, without padding.
        width: Columns that `generate` got as input; the answer stands behind them.
    """

    def __init__(self, size: int, prompts: Sequence[Sequence[int]], width: int) -> None:
        self._rule = NoRepeatNGramLogitsProcessor(size)
        self._prompts = [torch.tensor([prompt]) for prompt in prompts]
        self._width = width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (rows, V), beams of one prompt side by side, with -inf at what is banned."""
        beams = len(input_ids) // len(self._prompts)
        made = input_ids[:, self._width :].split(beams)
        parts = [
            self._rule(torch.cat([prompt.to(own.device).expand(beams, -1), own], 1), part)
            for prompt, own, part in zip(self._prompts, made, scores.split(beams), strict=True)
        ]
        return torch.cat(parts)
