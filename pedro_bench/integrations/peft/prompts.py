"""Where the prompt ends, in the words of Transformers' arguments; and what is refused.

Legend: B rows, T tokens.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from pedro_bench.errors import ContextError
from pedro_bench.protocols.batch import IGNORED, positions_of

TAUGHT = "_pedro_bench_prompts"
"""Attribute of lm-evaluation-harness's model class once it says where contexts end."""

_GIVEN: ContextVar[Tensor | None] = ContextVar("pedro_bench_peft_given", default=None)


@contextmanager
def given_prompts(mask_BT: Tensor) -> Iterator[None]:
    """Let a prompt mask (B, T) hold for the forward within, whose caller passes none."""
    token = _GIVEN.set(mask_BT)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def by_name(function: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the positional arguments of a function by their names."""
    return dict(zip(inspect.signature(function).parameters, args, strict=False))


def prompt_mask_of_call(tokens: Tensor, given: Mapping[str, Any], *, is_training: bool) -> Tensor:
    """Return the prompt mask (B, T) of a forward outside of `generate`.

    Args:
        tokens: Ids (B, T) or embeddings (B, T, D).
        given: Arguments of the forward; without a `prompt_mask`, that of `given_prompts` holds.
        is_training: Whether the model is in training mode.

    Raises:
        ContextError: As `prompt_mask`, or if the caller is one that does not say where the prompt ends.
    """
    asked = {"prompt_mask": _GIVEN.get(), **given}
    if asked["prompt_mask"] is None and asked.get("labels") is None:
        _refuse_unknown_boundary()
    return prompt_mask(tokens, asked, is_training=is_training)


def prompt_mask(tokens: Tensor, given: Mapping[str, Any], *, is_training: bool) -> Tensor:
    """Return which positions of a forward are prompt, (B, T) booleans.

    Args:
        tokens: Ids (B, T) or embeddings (B, T, D).
        given: Arguments of the forward: `prompt_mask`, else `labels`, else all that is not padding.
        is_training: Whether the model is in training mode.

    Raises:
        ContextError: If a row has no prompt, several examples share a row, or training says nothing of
            where the prompt ends.
    """
    rows, columns = tokens.shape[:2]
    real_BT = _real(given.get("attention_mask"), rows, columns, tokens.device)
    _refuse_packed(given, real_BT)
    asked, labels = given.get("prompt_mask"), given.get("labels")
    if asked is not None:
        return _asked(asked, rows, columns).to(tokens.device)
    if labels is None:
        if is_training and torch.is_grad_enabled():
            raise ContextError(
                "training must say where each prompt ends, got neither labels nor prompt_mask: pass labels "
                "with -100 over the prompt, or prompt_mask of shape (rows, tokens)."
            )
        return real_BT
    is_before_BT = (labels != IGNORED).cumsum(dim=1) == 0
    mask_BT: Tensor = real_BT & is_before_BT.to(tokens.device)
    if not bool(mask_BT.any(dim=1).all()):
        raise ContextError(
            "labels must be -100 over each row's prompt, got a row that has no prompt: train on "
            "prompt/completion data with the loss on completions alone, or pass prompt_mask."
        )
    return mask_BT


def lengthened(mask_BT: Tensor, tokens: Tensor) -> Tensor:
    """Return the prompt mask of a generation without a cache, which reads prompt and answer anew each step.

    Raises:
        ContextError: If the input is not the prompt with tokens behind it.
    """
    rows, columns = tokens.shape[:2]
    added = columns - mask_BT.shape[1]
    if rows != mask_BT.shape[0] or added < 1:
        raise ContextError(
            "a generation must go on behind its prompt, got "
            f"{(rows, columns)} rows and tokens behind prompts of {tuple(mask_BT.shape)}."
        )
    return torch.nn.functional.pad(mask_BT, (0, added), value=False)


def positions(mask: Any, tokens: Tensor) -> dict[str, Tensor]:
    """Return `position_ids` for rows with padding on the left, as `generate` makes them; else nothing.

    The model itself counts padding, which leaves rotary embeddings of the text alone as they are but moves
    the text away from virtual tokens.
    """
    if not isinstance(mask, Tensor) or tuple(mask.shape) != tuple(tokens.shape[:2]):
        return {}
    if bool(mask[:, 0].all()):
        return {}
    return {"position_ids": positions_of(mask)}


def refuse_decoding(model: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse ways of `generate` in which the prompt passes in parts, or several tokens at once.

    Args:
        model: The model.
        arguments: Arguments of `generate`.

    Raises:
        ContextError: If one is asked for.
    """
    config = arguments.get("generation_config") or model.generation_config
    reasons = {
        "prefill_chunk_size": "chunked prefill would make vectors from an unfinished prompt",
        "prompt_lookup_num_tokens": "assisted decoding passes several tokens at once over a cache",
        "assistant_model": "assisted decoding passes several tokens at once over a cache",
    }
    for name, reason in reasons.items():
        value = arguments.get(name, getattr(config, name, None))
        if value is not None:
            raise ContextError(
                f"{name} must be None with an adapter that reads the prompt, got {type(value).__name__}: "
                f"{reason}."
            )


def _refuse_unknown_boundary() -> None:
    """Refuse a forward of lm-evaluation-harness that was not taught to say where contexts end.

    Raises:
        ContextError: If its model class is loaded without `pedro_bench.integrations.lm_eval`.
    """
    harness = sys.modules.get("lm_eval.models.huggingface")
    if harness is not None and not hasattr(harness.HFLM, TAUGHT):
        raise ContextError(
            "lm-evaluation-harness must say where contexts end, got it as it is: import "
            "pedro_bench.integrations.lm_eval before it scores."
        )


def _real(mask: Any, rows: int, columns: int, device: torch.device) -> Tensor:
    """Return where tokens are not padding, from any form of attention mask that models take."""
    if isinstance(mask, Mapping):  # one for each kind of layer
        mask = mask.get("full_attention", next(iter(mask.values())))
    if mask is None:
        return torch.ones(rows, columns, dtype=torch.bool, device=device)
    if mask.ndim == 4:  # what the last token sees
        row: Tensor = mask[:, 0, -1, :columns]
        return (row if row.dtype == torch.bool else row == 0).expand(rows, -1)
    if tuple(mask.shape) != (rows, columns):
        raise ContextError(
            f"attention_mask must have a column for each of the {columns} tokens, got shape "
            f"{tuple(mask.shape)}: the prompt must pass through the model whole."
        )
    found: Tensor = mask.bool().to(device)
    return found


def _asked(mask: Tensor, rows: int, columns: int) -> Tensor:
    """Return a mask that was given, once for each of the rows that `generate` makes of an example."""
    if mask.ndim != 2 or mask.shape[1] != columns or rows % mask.shape[0]:
        raise ContextError(
            f"prompt_mask must have the shape of the input, ({rows}, {columns}), got "
            f"{tuple(mask.shape)}."
        )
    return mask.bool().repeat_interleave(rows // mask.shape[0], dim=0)


def _refuse_packed(given: Mapping[str, Any], real_BT: Tensor) -> None:
    positions = given.get("position_ids")
    if positions is None or positions.ndim != 2:
        return
    is_pair_BT = real_BT[:, 1:] & real_BT[:, :-1]
    falls_BT = positions[:, 1:] < positions[:, :-1]
    if bool((falls_BT & is_pair_BT).any()):
        raise ContextError(
            "a row must hold one example, got positions that start again within a row: switch packing "
            "and padding-free batches off."
        )
