"""Stop texts: where a generated answer ends besides the end-of-sequence token.

The text is cut before the first stop text. Under greedy decoding a row also stops being generated
once a stop text stands in it, which saves time and changes nothing; beams run to their end.

Legend: B examples, T tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

_SPARE_TOKENS = 4
"""Tokens read beyond a stop text's bytes: no token that adds text is shorter than a byte."""


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop text in it."""
    for one in stop:
        text = text.partition(one)[0]
    return text


class StopTexts(StoppingCriteria):  # type: ignore[misc]  # the base class is Any to the checker
    """Ends each row whose newest tokens hold a stop text.

    Args:
        tokenizer: Turns tokens into text.
        prompt_width: Columns of the padded prompt, which is not searched.
        stop: Stop texts, none empty.
    """

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
