"""lm-evaluation-harness on adapters of this package's types.

    python -m pedro_bench.integrations.lm_eval --model hf --model_args pretrained=MODEL,peft=DIR --tasks TASKS

is the harness's own command, in a process that knows the types. The harness scores a context and its
continuation in one pass and does not say where the context ends. Importing this module lets its model class
say so, and vectors are made from the context alone. Texts that are generated need nothing: their whole input
is the prompt. Models without such an adapter are scored as ever.
"""

import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from pedro_bench.errors import ContextError
from pedro_bench.integrations.peft.prompts import TAUGHT, given_prompts
from pedro_bench.integrations.peft.tuner import MethodTuner

Ids = tuple[int, ...]
Request = tuple[Any, list[int], list[int]]
"""As the harness has them: the texts, the ids of the context, those of the continuation."""

_LENGTHS: ContextVar[dict[Ids, int] | None] = ContextVar("pedro_bench_lm_eval", default=None)


def in_rounds(
    requests: Sequence[Request], max_length: int
) -> list[tuple[list[int], dict[Ids, int]]]:
    """Divide requests so that in each round a row of ids has one boundary.

    Rows are known by their ids without trailing zeros, which the harness pads with.

    Args:
        requests: What is to be scored.
        max_length: Most tokens of a row; longer ones lose their beginning.

    Returns:
        For each round the places of its requests, and row -> tokens of it that are context.

    Raises:
        ContextError: If nothing of a context is left.
    """
    rounds: list[tuple[list[int], dict[Ids, int]]] = []
    for place, (_, context, continuation) in enumerate(requests):
        whole = [*context, *continuation][-(max_length + 1) :][:-1]
        length = len(whole) - len(continuation) + 1
        if length < 1:
            raise ContextError(
                f"max_length must leave room for a context, got {max_length} with a continuation of "
                f"{len(continuation)} tokens."
            )
        row = _without_padding(whole)
        for places, lengths in rounds:
            if lengths.setdefault(row, length) == length:
                places.append(place)
                break
        else:
            rounds.append(([place], {row: length}))
    return rounds


def _without_padding(ids: Sequence[int]) -> Ids:
    end = len(ids)
    while end and ids[end - 1] == 0:
        end -= 1
    return tuple(ids[:end])


def _is_adapted(model: Any) -> bool:
    return isinstance(getattr(model, "base_model", None), MethodTuner)


def _reads_prompt(model: Any) -> bool:
    return _is_adapted(model) and any(config.reads_prompt for config in model.peft_config.values())


_score_tokens = HFLM._loglikelihood_tokens
_call = HFLM._model_call
_roll = HFLM.loglikelihood_rolling


def _loglikelihood_tokens(
    self: Any, requests: Sequence[Request], *args: Any, **kwargs: Any
) -> list[tuple[float, bool]]:
    """Score as the harness does, a round at a time, with the boundaries of the round known.

    Rounds also keep pairs apart that are one text cut at two places, which the harness scores together,
    the shorter continuation at the wrong positions (lm_eval 0.4.13).
    """
    if not _is_adapted(self.model):
        return list(_score_tokens(self, requests, *args, **kwargs))
    scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
    for places, lengths in in_rounds(requests, self.max_length):
        token = _LENGTHS.set(lengths)
        try:
            found = _score_tokens(self, [requests[place] for place in places], *args, **kwargs)
        finally:
            _LENGTHS.reset(token)
        for place, score in zip(places, found, strict=True):
            scores[place] = score
    return scores


def _model_call(self: Any, inps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Call the model as the harness does, with a prompt mask."""
    lengths = _LENGTHS.get()
    if not _is_adapted(self.model):
        return _call(self, inps, *args, **kwargs)  # type: ignore[no-any-return]
    mask_BT = torch.ones_like(inps, dtype=torch.bool)
    if not bool((inps == 1).all()):  # what the harness tries batch sizes with
        rows = [_without_padding(ids) for ids in inps.tolist()]
        if lengths is None or any(row not in lengths for row in rows):
            raise ContextError("a row must be one of the requests that are scored, got another.")
        ends_B = torch.tensor([lengths[row] for row in rows], device=inps.device)
        mask_BT = torch.arange(inps.shape[1], device=inps.device) < ends_B[:, None]
    with given_prompts(mask_BT):
        return _call(self, inps, *args, **kwargs)  # type: ignore[no-any-return]


def _loglikelihood_rolling(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse whole texts, which have no prompt.

    Raises:
        ContextError: If the adapter reads one.
    """
    if _reads_prompt(self.model):
        raise ContextError(
            "a task must give a context and a continuation, got a whole text: without a prompt there is "
            "nothing that the adapter could read."
        )
    return _roll(self, *args, **kwargs)


if not hasattr(HFLM, TAUGHT):
    HFLM._loglikelihood_tokens = _loglikelihood_tokens
    HFLM._model_call = _model_call
    HFLM.loglikelihood_rolling = _loglikelihood_rolling
    setattr(HFLM, TAUGHT, True)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    sys.exit(cli_evaluate())
