"""Forgetting: how much worse an adapted model predicts plain text than the bare backbone does.

The text is cut into windows of at most WINDOW tokens. The first half of a window is the prompt, which
methods read; the loss is on the second half, in nats a token: -log p(token | all tokens before it), averaged
over all windows. It is measured on the bare backbone and with the trained adapter, on the same windows; the
rise is what was forgotten. The bare backbone is the base also of a method that does not start at it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pedro_bench.errors import DataError
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import BackboneShape, LoadedBackbone
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Injection, Method, ParameterCount
from pedro_bench.runs.identity import plain_text

WINDOW = 512
"""Most tokens of a window."""

LEAST = 32
"""Fewest tokens of a window; a shorter rest of the text is left out."""


@dataclass(frozen=True, kw_only=True)
class Unchanged(Method):
    """The bare backbone as a method that adds nothing."""

    def count(self, shape: BackboneShape) -> ParameterCount:
        """Count nothing."""
        return ParameterCount(0, 0)

    def attach(self, injection: Injection) -> None:
        """Leave the backbone as it is."""


@contextmanager
def unchanged(backbone: LoadedBackbone, head: Head | None = None) -> Iterator[AdaptedModel]:
    """Hold the bare backbone as an adapted model; it is free again afterwards, whatever went wrong."""
    bare = AdaptedModel(backbone, Unchanged(name="none", label="none"), head)
    try:
        yield bare
    finally:
        bare.remove()


class PlainText:
    """Windows of a text, and the bare backbone's loss on them.

    Args:
        path: A UTF-8 text file that no training data comes from.
        backbone: The bare backbone.
        max_tokens: Most tokens of prompt and answer that the method leaves room for.
        batch_size: Windows of a pass; moves no number but in its last digits.

    Raises:
        DataError: If the file cannot be read, or is too short for a window.
    """

    def __init__(
        self, path: str, backbone: LoadedBackbone, max_tokens: int, batch_size: int
    ) -> None:
        self._windows = windows(plain_text(path), backbone.tokenizer, min(WINDOW, max_tokens), path)
        self._batch_size = batch_size
        with unchanged(backbone) as bare:
            self.before = self._loss(bare)

    def measured(self, adapted: AdaptedModel) -> dict[str, Any]:
        """Return `before`, `after` and `rise` in nats a token, and the number of `tokens`."""
        after = self._loss(adapted)
        tokens = sum(len(one.answer_ids) for one in self._windows)
        return {
            "before": self.before,
            "after": after,
            "rise": after - self.before,
            "tokens": tokens,
        }

    def _loss(self, adapted: AdaptedModel) -> float:
        scores = loglikelihood(adapted, self._windows, batch_size=self._batch_size)
        return -sum(scores) / sum(len(one.answer_ids) for one in self._windows)


def windows(text: str, tokenizer: Any, size: int, path: str) -> Sequence[Encoded]:
    """Cut a text into windows without overlap; of each the second half is the answer.

    Args:
        text: The text.
        tokenizer: The backbone's; no special token is added.
        size: Most tokens of a window.
        path: Where the text comes from, for messages.

    Raises:
        DataError: If it has fewer than LEAST tokens.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    whole = [part for part in parts if len(part) >= min(LEAST, size)]
    if not whole:
        raise DataError(
            f"evaluation.forgetting must have at least {LEAST} tokens of text, got {len(ids)} in {path!r}."
        )
    return [
        Encoded(
            index=index,
            prompt_ids=tuple(part[: len(part) // 2]),
            answer_ids=tuple(part[len(part) // 2 :]),
        )
        for index, part in enumerate(whole)
    ]
