"""Batch: padded token rows that know which positions are prompt and which are answer.

Legend: B examples, T tokens (padded length).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
