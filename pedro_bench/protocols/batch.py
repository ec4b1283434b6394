"""Batch: padded token rows that know which positions are prompt and which are answer.

Legend: B examples, T tokens (padded length).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pedro_bench.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORED = -100
"""Label of positions that carry no loss (prompt and padding), as in PyTorch's cross-entropy."""


def positions_of(mask_BT: "Tensor") -> "Tensor":
    """Return each token's position (B, T) int64 among its row's own, which padding does not count in."""
    return (mask_BT.long().cumsum(1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Encoded:
    """One example as token ids, not yet padded.

    Attributes:
        prompt_ids: Token ids of the prompt, beginning-of-sequence token included where there is one.
        answer_ids: Token ids of the answer with the end-of-sequence token; empty if there is no label.
        index: Row number within its split.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    index: int

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True)
class Batch:
    """Padded examples.

    Attributes:
        input_ids_BT: Token ids; padded on the right for training, on the left for decoding.
        attention_mask_BT: True at real tokens.
        prompt_mask_BT: True at prompt tokens.
        labels_BT: The token itself at answer positions (end-of-sequence included), else IGNORED; the
            logits of position t-1 predict the label of position t.
    """

    input_ids_BT: "Tensor"
    attention_mask_BT: "Tensor"
    prompt_mask_BT: "Tensor"
    labels_BT: "Tensor"

    def to(self, device: "object") -> "Batch":
        """Return the batch with its tensors on a device."""
        return Batch(
            self.input_ids_BT.to(device),  # type: ignore[call-overload]
            self.attention_mask_BT.to(device),  # type: ignore[call-overload]
            self.prompt_mask_BT.to(device),  # type: ignore[call-overload]
            self.labels_BT.to(device),  # type: ignore[call-overload]
        )

    @property
    def is_right_padded(self) -> bool:
        """Whether every example starts in the first column."""
        return bool(self.attention_mask_BT[:, 0].all())


def batches_by_length(lengths: Sequence[int], most_rows: Callable[[int], int]) -> list[list[int]]:
    """Divide rows into batches by length, longest first, so that a lack of memory shows at once.

    Rows of one length stay in their order, so the batches are the same on every call; results and the
    portions of a training step depend on it.

    Args:
        lengths: Length of each row, in tokens.
        most_rows: Called with the longest length of a batch; how many rows it may have, at least 1.

    Returns:
        Batches of indices into `lengths`, each row once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches = []
    start = 0
    while start < len(order):
        stop = start + most_rows(lengths[order[start]])
        batches.append(order[start:stop])
        start = stop
    return batches


def collate(encoded: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad examples, prompts with their answers, to one length on the right.

    Args:
        encoded: The examples of a batch.
        pad_id: Token id that fills up rows; the attention mask hides it.

    Raises:
        DataError: If there is no example, or one without a prompt.
    """
    import torch

    if not encoded or not all(example.prompt_ids for example in encoded):
        raise DataError("a batch must have at least one example, each with a prompt, got none.")
    pairs = [(example.prompt_ids, example.answer_ids) for example in encoded]
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)

    def padded(rows: list[list[int]], filler: int, dtype: "torch.dtype") -> "Tensor":
        return torch.tensor([row + [filler] * (width - len(row)) for row in rows], dtype=dtype)

    return Batch(
        input_ids_BT=padded([[*prompt, *answer] for prompt, answer in pairs], pad_id, torch.long),
        attention_mask_BT=padded([[1] * (len(p) + len(a)) for p, a in pairs], 0, torch.bool),
        prompt_mask_BT=padded([[1] * len(p) + [0] * len(a) for p, a in pairs], 0, torch.bool),
        labels_BT=padded([[IGNORED] * len(p) + [*a] for p, a in pairs], IGNORED, torch.long),
    )
