"""Keys and values that an attention module sees in front of its own: a prefix, or virtual tokens.

They are kept next to the key/value cache, never in it, so the cache holds exactly the tokens that the
caller passed: its length, its mask, its beams and its last position stay what Transformers believes
they are. What a generation needs of them lives in its prompt context.

Legend: B examples, H key/value heads, P prefix tokens, T tokens of this forward, S tokens it may see
(those in the cache and its own), W width of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pedro_bench.errors import InjectionError
from pedro_bench.protocols.backbone import Site
from pedro_bench.protocols.context import current_context

Pair = tuple[Tensor, Tensor]
"""Keys and values of the prefix, each (B, P, H W)."""

_IMPLEMENTATIONS = ("sdpa", "eager")


class GivenPrefix:
    """Takes the place of the cache (or None) for one call of an attention module that gets P tokens more."""

    def __init__(self, cache: Any, prefix: Pair) -> None:
        self._cache = cache
        self._prefix = prefix

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Pair:
        """Put new keys and values into the cache; return all that is seen, the prefix first."""
        first, second = (
            _as_heads(flat.to(own.dtype), own)
            for flat, own in zip(self._prefix, (keys, values), strict=True)
        )
        if self._cache is not None:
            keys, values = self._cache.update(keys, values, *args, **kwargs)
        return torch.cat([first, keys], dim=2), torch.cat([second, values], dim=2)


class FreshPrefix:
    """Takes the place of the cache where P virtual tokens pass through the layer before T others.

    Args:
        cache: The generation's cache, or None.
        num_fresh: P.
        keep: Called with their keys and values if there is a cache.
    """

    def __init__(self, cache: Any, num_fresh: int, keep: Callable[[Pair], None]) -> None:
        self._cache = cache
        self._num_fresh = num_fresh
        self._keep = keep

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Pair:
        """Keep the virtual tokens' part out of the cache, put the rest into it, return all."""
        if self._cache is None:
            return keys, values
        fresh, rest = zip(*(_parted(own, self._num_fresh) for own in (keys, values)), strict=True)
        self._keep((_flat(fresh[0]), _flat(fresh[1])))
        keys, values = self._cache.update(*rest, *args, **kwargs)
        return torch.cat([fresh[0], keys], dim=2), torch.cat([fresh[1], values], dim=2)


def _parted(own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return own[:, :, :count], own[:, :, count:]


def _as_heads(flat: Tensor, own: Tensor) -> Tensor:
    """Turn (B, P, O) into the layout of keys or values (B, H, T, W) that a layer made.

    Falcon repeats each key for the queries of its group before it is cached; so are those beside.
    """
    heads: Tensor = flat.unflatten(2, (-1, own.shape[3])).transpose(1, 2)
    repeats = own.shape[1] // heads.shape[1]
    return heads if repeats == 1 else heads.repeat_interleave(repeats, dim=1)


def is_causal(site: Site) -> bool:
    """Return whether an attention module lets no token see those behind it."""
    return bool(getattr(site.module, "is_causal", True))


def _flat(own: Tensor) -> Tensor:
    return own.transpose(1, 2).flatten(2)


def visible(mask: Tensor | None, num_tokens: int, num_seen: int, device: torch.device) -> Tensor:
    """Return an attention mask as booleans (B or 1, 1, T, S), True where a token may be seen.

    Args:
        mask: As a layer gets it: None for plain causal attention, booleans, or numbers to add to the
            scores (0 where a token may be seen).
        num_tokens: T.
        num_seen: S.
        device: Where to make it.
    """
    if mask is None:
        whole = torch.ones(num_tokens, num_seen, dtype=torch.bool, device=device)
        return whole.tril(num_seen - num_tokens)[None, None]
    return mask if mask.dtype == torch.bool else mask == 0


def like(seen: Tensor, mask: Tensor | None) -> Tensor:
    """Turn booleans into the kind of mask that `mask` is."""
    if mask is None or mask.dtype == torch.bool:
        return seen
    lowest = torch.finfo(mask.dtype).min
    return torch.zeros(seen.shape, dtype=mask.dtype, device=seen.device).masked_fill(~seen, lowest)


def seen_by_all(
    mask: Tensor | None, hidden_BTD: Tensor, num_prefix: int, *, causal: bool = True
) -> Tensor | None:
    """Return a layer's mask with P columns in front that every token sees.

    Args:
        mask: As a layer gets it.
        hidden_BTD: The layer's input, for its length and device.
        num_prefix: P.
        causal: Whether a token sees none behind it; else no mask means that all see all.
    """
    num_tokens = hidden_BTD.shape[1]
    if mask is None and (num_tokens == 1 or not causal):
        return None

    def extend() -> Tensor:
        # Without a mask, several tokens at once are a whole prompt: they see themselves alone.
        seen = visible(mask, num_tokens, num_tokens, hidden_BTD.device)
        return like(functional.pad(seen, (num_prefix, 0), value=True), mask)

    extended: Tensor = current_context().once("seen by all", mask, extend)
    return extended


def check_attention(sites: Sequence[Site], method_name: str) -> None:
    """Require an attention implementation whose masks are known here.

    Raises:
        InjectionError: If it is another one, such as flash attention.
    """
    for site in sites:
        config: Any = site.module.config
        if config._attn_implementation not in _IMPLEMENTATIONS:
            raise InjectionError(
                f"backbone.attn_implementation must be sdpa or eager with method {method_name!r}, "
                f"whose tokens stand beside the cache, got {config._attn_implementation!r}."
            )
