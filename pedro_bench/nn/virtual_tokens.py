"""Virtual tokens that pass through the layers from one on, together with the tokens of the batch.

They are put in before a layer and taken out behind the last one, so that whoever calls the
backbone sees the tokens it passed and no others. In a layer they stand in front in memory, wherever
their place in the sequence is: positions and masks say that. Their keys and values are kept next to the
cache (`nn/cached_prefix.py`) in the prompt's context.

    before_prompt    [virtual, prompt, answer]    positions 0 … P-1, then all others
    after_prompt     [prompt, virtual, answer]    the last virtual token predicts the answer's first

Decoding may read the last prompt token a second time, on top of a cache that lacks it; tokens after
the prompt then pass through again with it.

Legend: B examples, P virtual tokens, T tokens of this forward, S tokens they may see, D hidden.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pedro_bench.errors import InjectionError
from pedro_bench.nn.cached_prefix import (
    FreshPrefix,
    GivenPrefix,
    Pair,
    check_attention,
    is_causal,
    like,
    seen_by_all,
    visible,
)
from pedro_bench.protocols.backbone import Site
from pedro_bench.protocols.cache import argument_of
from pedro_bench.protocols.context import PromptContext, current_context
from pedro_bench.protocols.method import Injection

_POSITIONS = "positions of virtual tokens"


class VirtualTokens:
    """P tokens that join the others before one layer.

    Args:
        num_tokens: P, at least 1.
        first_layer: The first layer they pass through, from 0.
        after_prompt: Whether their place is between prompt and answer; else before the prompt.
        make: Called with the first layer's input (B, T, D) and the context; returns (B, P, D).
    """

    def __init__(
        self,
        num_tokens: int,
        *,
        first_layer: int,
        after_prompt: bool,
        make: Callable[[Tensor, PromptContext], Tensor],
    ) -> None:
        self._num_tokens = num_tokens
        self._first_layer = first_layer
        self._after_prompt = after_prompt
        self._make = make
        self._placed: Callable[[Tensor, Tensor], Tensor] | None = None
        self._is_causal = True

    def wire(self, injection: Injection, method_name: str) -> None:
        """Let the tokens pass through the backbone.

        Raises:
            InjectionError: If the backbone lacks a role, or its attention has masks of another kind.
        """
        attentions = injection.sites(("attention",))
        check_attention(attentions, method_name)
        self._wire_positions(injection)
        self._is_causal = is_causal(attentions[0])
        if self._after_prompt and not self._is_causal:
            raise InjectionError(
                f"method {method_name!r} must put its tokens between prompt and answer, got a backbone that "
                "reads both directions, whose whole input is the prompt."
            )
        injection.on_input(injection.sites(("block",))[self._first_layer], self._put_in)
        for layer, site in enumerate(attentions):
            self._wire_attention(injection, site, layer)
        injection.on_output(injection.sites(("block",))[-1], self._take_out)

    def _wire_attention(self, injection: Injection, site: Site, layer: int) -> None:
        key, cache = f"virtual tokens/{layer}", argument_of(site.module.forward)

        def attend(arguments: Mapping[str, Any]) -> dict[str, Any]:
            return self._attend(key, cache, arguments)

        injection.on_arguments(
            site, attend if layer >= self._first_layer else self._without_positions
        )

    def _is_inserting(self, context: PromptContext) -> bool:
        """Whether the tokens pass through in the forward that runs now."""
        return context.reads_prompt_end if self._after_prompt else context.stage == "prompt"

    def _wire_positions(self, injection: Injection) -> None:
        """Let the tokens have positions of their own, and the others the positions that are left.

        Learned positions are added to the input, so tokens that join later have none and move none.
        """
        if injection.positions != "learned":
            injection.on_positions(self._place)
        elif self._first_layer == 0:
            self._placed = injection.placed
            injection.on_positions(self._place_learned)

    def _place(self, positions_BT: Tensor) -> Tensor:
        """Make room for P positions, and give the virtual tokens theirs, in front."""
        if not self._is_inserting(current_context()):
            return positions_BT + self._num_tokens
        return torch.cat(self._split_positions(positions_BT), dim=1)

    def _place_learned(self, positions_BT: Tensor) -> Tensor:
        """Make room for P positions; the virtual tokens' own are looked up where they are put in."""
        if not self._is_inserting(current_context()):
            return positions_BT + self._num_tokens
        virtual_BP, own_BT = self._split_positions(positions_BT)
        current_context().once(_POSITIONS, None, lambda: virtual_BP)
        return own_BT

    def _split_positions(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the virtual tokens (B or 1, P) and of the others (B or 1, T)."""
        context = current_context()
        steps_P = torch.arange(self._num_tokens, device=positions_BT.device)
        if not self._after_prompt:
            virtual_BP = steps_P.expand(positions_BT.shape[0], -1)
            return virtual_BP, positions_BT + self._num_tokens
        positions_BT = positions_BT.expand(context.num_examples, -1)
        last_B1 = _last_prompt_column(context)[:, None]
        columns_T = torch.arange(positions_BT.shape[1], device=positions_BT.device)
        own_BT = positions_BT + self._num_tokens * (columns_T > last_B1)
        return positions_BT.gather(1, last_B1) + 1 + steps_P, own_BT

    def _put_in(self, hidden_BTD: Tensor) -> Tensor | None:
        context = current_context()
        if not self._is_inserting(context):
            return None
        virtual_BPD = self._make(hidden_BTD, context)
        if self._placed is not None:
            positions_BP: Tensor = context.once(_POSITIONS, None, lambda: None)
            virtual_BPD = self._placed(virtual_BPD, positions_BP)
        virtual_BPD = virtual_BPD.to(hidden_BTD.dtype)
        return torch.cat([virtual_BPD, hidden_BTD], dim=1)

    def _take_out(self, _: Tensor, hidden_BTD: Tensor) -> Tensor:
        """Drop the virtual tokens; after the prompt, their last one stands for the last prompt token."""
        context = current_context()
        if not self._is_inserting(context):
            return hidden_BTD
        own_BTD = hidden_BTD[:, self._num_tokens :]
        if not self._after_prompt:
            return own_BTD
        columns_T = torch.arange(own_BTD.shape[1], device=own_BTD.device)
        is_last_BT = columns_T == _last_prompt_column(context)[:, None]
        last_B1D = hidden_BTD[:, self._num_tokens - 1 : self._num_tokens]
        return torch.where(is_last_BT[:, :, None], last_B1D, own_BTD)

    def _without_positions(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Leave the virtual tokens' positions out, in a layer below the first that they pass through."""
        rotary = arguments.get("position_embeddings")
        if rotary is None or not self._is_inserting(current_context()):
            return {}
        cos, sin = rotary
        return {"position_embeddings": (cos[:, self._num_tokens :], sin[:, self._num_tokens :])}

    def _attend(self, key: str, cache_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Let a layer's tokens and the virtual tokens see each other as their places say."""
        context = current_context()
        mask, cache = arguments["attention_mask"], arguments.get(cache_name)
        hidden_BTD: Tensor = arguments["hidden_states"]
        if not self._is_inserting(context):
            return {
                cache_name: GivenPrefix(cache, context.state[key]),
                "attention_mask": seen_by_all(
                    mask, hidden_BTD, self._num_tokens, causal=self._is_causal
                ),
            }

        def keep(pair: Pair) -> None:
            context.state[key] = pair

        return {
            cache_name: FreshPrefix(cache, self._num_tokens, keep),
            "attention_mask": self._mask(mask, hidden_BTD, context),
        }

    def _mask(
        self, mask: Tensor | None, hidden_BTD: Tensor, context: PromptContext
    ) -> Tensor | None:
        """Return the mask (B or 1, 1, P + T, P + S) of a forward that the virtual tokens pass with."""
        if mask is None and not self._after_prompt:
            return None  # memory order is sequence order: causal, or everything is seen
        if not self._is_causal:  # all rows are alike: they leave padding out
            row = None if mask is None else mask[:, :, :1]
            return seen_by_all(row, hidden_BTD, self._num_tokens, causal=False)
        num_tokens = hidden_BTD.shape[1] - self._num_tokens

        def extend() -> Tensor:
            seen = visible(mask, num_tokens, context.num_cached + num_tokens, hidden_BTD.device)
            return like(self._joined(seen, context), mask)

        extended: Tensor = context.once("virtual tokens", mask, extend)
        return extended

    def _joined(self, seen: Tensor, context: PromptContext) -> Tensor:
        """Put P rows above and P columns before a boolean mask (B or 1, 1, T, S)."""
        count = self._num_tokens
        among_PP = torch.ones(count, count, dtype=torch.bool, device=seen.device).tril()
        if self._after_prompt:
            seen = seen.expand(context.num_examples, -1, -1, -1)
            last_B = _last_prompt_column(context)
            columns_T = torch.arange(seen.shape[2], device=seen.device)
            sees_virtual = (columns_T > last_B[:, None])[:, None, :, None]
            rows_B = torch.arange(seen.shape[0], device=seen.device)
            seen_by_virtual = seen[rows_B, :, last_B][:, :, None]
        else:
            sees_virtual = seen.new_ones(1, 1, 1, 1)
            seen_by_virtual = seen.new_zeros(1, 1, 1, 1)
        examples, _, tokens, columns = seen.shape
        above = torch.cat(
            [
                among_PP.expand(examples, 1, -1, -1),
                seen_by_virtual.expand(examples, 1, count, columns),
            ],
            dim=3,
        )
        below = torch.cat([sees_virtual.expand(examples, 1, tokens, count), seen], dim=3)
        return torch.cat([above, below], dim=2)


def _last_prompt_column(context: PromptContext) -> Tensor:
    """Return the column (B,) of each last prompt token in the forward that runs now."""
    return (context.last_prompt_B - context.num_cached).clamp(min=0)
