"""The proof that an export is the trained model: equal logits on random tokens, before anything is kept.

Legend: B rows, T tokens, P prompt, N answer tokens, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import IGNORED, Batch

_ROWS, _PROMPT, _ANSWER = 2, 12, 6
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference, as a part of the largest logit: rounding of other orders of summation."""


def tokens_for(backbone: LoadedBackbone) -> Batch:
    """Return rows of random tokens without padding, P and then N of them in each."""
    draw = torch.Generator().manual_seed(0)
    width = _PROMPT + _ANSWER
    ids_BT = torch.randint(0, backbone.shape.vocab_size, (_ROWS, width), generator=draw)
    is_prompt_BT = (torch.arange(width) < _PROMPT).expand(_ROWS, -1)
    labels_BT = ids_BT.masked_fill(is_prompt_BT, IGNORED)
    batch = Batch(ids_BT, torch.ones_like(is_prompt_BT), is_prompt_BT, labels_BT)
    return batch.to(backbone.device)


@torch.no_grad()
def trained_logits(adapted: AdaptedModel, batch: Batch) -> Tensor:
    """Return the trained model's logits (N of all rows, V) in float32."""
    logits_NV, _ = adapted.answer_logits(batch)
    return logits_NV.float()


@torch.no_grad()
def exported_logits(model: Any, batch: Batch) -> Tensor:
    """Return the logits (N of all rows, V) of a model that is called as Transformers' and peft's are."""
    made = model(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_BT.long(),
        labels=batch.labels_BT,
    ).logits
    own = made[:, made.shape[1] - batch.input_ids_BT.shape[1] :]  # without virtual tokens
    logits_NV: Tensor = own[:, :-1][batch.labels_BT[:, 1:] != IGNORED]
    return logits_NV.float()


def require_equal(
    exported_NV: Tensor, trained_NV: Tensor, dtype: torch.dtype, wanted: str, name: str
) -> None:
    """Require that an export computes what was trained.

    Args:
        exported_NV: Its logits.
        trained_NV: The trained model's.
        dtype: The backbone's.
        wanted: The format.
        name: The method.

    Raises:
        ConfigError: If logits differ by more than rounding.
    """
    difference = float((exported_NV - trained_NV).abs().max())
    scale = float(trained_NV.abs().max())
    if not difference <= _TOLERANCE[dtype] * scale:
        raise ConfigError(
            f"an export must give the logits of the trained model, got a difference of {difference:.2g} "
            f"(largest logit {scale:.2g}) with format={wanted} and method {name!r} on this backbone: use "
            "format=native."
        )
