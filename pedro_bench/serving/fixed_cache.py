"""A cache of fixed length: N slots of every row, of which the mask says which are read.

Transformers' own caches grow by a token with each step, so every step has tensors of other shapes and other
addresses. Here a step writes its token's keys and values in place, at a slot that is a tensor, and hands the
attention all slots; those behind the slot are masked.

Legend: B rows, T tokens of the padded prompts, N slots, H heads, D width of a head.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import CacheLayerMixin


class FixedLayer(CacheLayerMixin):  # type: ignore[misc]  # the base class is Any to the checker
    """One layer of the cache.

    Args:
        keys: Buffer of keys, (B, H, N, D).
        values: Buffer of values, (B, H, N, D).
        slot_1: The slot that the next token is written to, which all layers share.
    """

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, slot_1: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._slot_1 = keys, values, slot_1
        self.num_rows = keys.shape[0]
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to be made."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token's keys and values; return those of all slots."""
        self.keys.index_copy_(2, self._slot_1, key_states)
        self.values.index_copy_(2, self._slot_1, value_states)
        return self.keys, self.values

    def fill(self, keys_BHTD: Tensor, values_BHTD: Tensor) -> None:
        """Take over what prompts left in an ordinary cache."""
        self.num_rows, _, length, _ = keys_BHTD.shape
        for buffer, given in ((self.keys, keys_BHTD), (self.values, values_BHTD)):
            buffer[: self.num_rows, :, :length] = given
            # A masked slot counts zero times what it holds: NaN of an earlier batch would stay NaN.
            buffer[: self.num_rows, :, length:] = 0.0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let rows go on from other rows' caches, as a beam search asks, without moving the tensors."""
        for held in (self.keys, self.values):
            held[: self.num_rows] = held[: self.num_rows].index_select(0, beam_idx)

    def get_seq_length(self) -> int:
        """Return N: steps carry positions and mask of their own, so nobody counts here."""
        return int(self.keys.shape[2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and the offset of the mask."""
        return self.get_seq_length(), 0

    def get_max_length(self) -> int:
        """Return N."""
        return self.get_seq_length()

    get_max_cache_shape = get_max_length  # its name in other releases of Transformers
