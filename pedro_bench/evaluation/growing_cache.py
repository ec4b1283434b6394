"""A cache of keys and values with room for the next tokens.

Transformers' `DynamicCache` copies all keys and values for each new token, and once more where beams are
reordered. Here a layer writes new tokens into room that it made before, and copies only when that is
full. Keys and values are the same numbers; only where they lie differs.

Legend: B rows, H heads, T tokens, D head dimension.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Tokens for which room is made at a time."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # the base class is Any to the checker
    """One layer: `keys` and `values` (B, H, T, D) are the filled part of larger tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Add keys and values (B, H, T new, D) and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._parts = (key_states[:, :, :0], value_states[:, :, :0])
        length = self.get_seq_length()
        self._parts = (
            _with_room(self._parts[0], self.keys, key_states),
            _with_room(self._parts[1], self.values, value_states),
        )
        for part, new in zip(self._parts, (key_states, value_states), strict=True):
            part[:, :, length : length + new.shape[2]] = new
        self._fill_to(length + key_states.shape[2])
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take the rows that a step of beam search goes on with, (B,) int64."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows alone, in this order; `indices` (rows,) int64."""
        if length := self.get_seq_length():
            self._own()
            rows = indices.to(self.keys.device)
            self._parts = (
                self._parts[0].index_select(0, rows),
                self._parts[1].index_select(0, rows),
            )
            self._fill_to(length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times, side by side."""
        if length := self.get_seq_length():
            self._parts = (
                self.keys.repeat_interleave(repeats, dim=0),
                self.values.repeat_interleave(repeats, dim=0),
            )
            self._fill_to(length)

    def _own(self) -> None:
        """Take keys and values that were put in place from outside, such as repeated ones, as the whole."""
        self._parts = (
            self._parts[0] if _is_front(self.keys, self._parts[0]) else self.keys,
            self._parts[1] if _is_front(self.values, self._parts[1]) else self.values,
        )

    def _fill_to(self, length: int) -> None:
        self.keys = self._parts[0][:, :, :length]
        self.values = self._parts[1][:, :, :length]


class GrowingCache(DynamicCache):  # type: ignore[misc]  # the base class is Any to the checker
    """A cache whose every layer keeps every position, also where attention has a sliding window."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = GrowingLayer


def _is_front(filled: Tensor, whole: Tensor) -> bool:
    """Tell whether `filled` is the first tokens of `whole`, in the same memory."""
    return (
        filled.data_ptr() == whole.data_ptr()
        and filled.stride() == whole.stride()
        and filled.shape[0] == whole.shape[0]
    )


def _with_room(whole: Tensor, filled: Tensor, new: Tensor) -> Tensor:
    """Return `whole` if `new` fits behind its filled part, else a larger copy of that part."""
    length = filled.shape[2] if filled.numel() else 0
    needed = length + new.shape[2]
    if length and needed <= whole.shape[2] and _is_front(filled, whole):
        return whole
    rows, heads, _, width = new.shape
    larger = torch.empty((rows, heads, needed + _ROOM, width), dtype=new.dtype, device=new.device)
    if length:
        larger[:, :, :length] = filled
    return larger
