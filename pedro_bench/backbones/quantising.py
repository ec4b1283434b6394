"""Quantised frozen weights: the linear layers in four or eight bits, everything else as it was.

    nf4     W ~ c[i] * s        i: one of 16 levels of a normal distribution, s: a scale for 64 weights,
                                itself in eight bits (Dettmers et al. 2023, arXiv:2305.14314, section 3)
    int8    W ~ q * s / 127     q: eight bits, s: the greatest weight of an output
                                (Dettmers et al. 2022, arXiv:2208.07339, section 2)

The model is loaded whole and proved, then each linear layer but the head is replaced by that of
bitsandbytes. Embedding, head, normalisations and biases keep the backbone's dtype, and so do layers that must
stay floats by their model's class in Transformers (T5 casts activations to the dtype of its `wo`). Adapters
stay float32; gradients flow through the quantised layers and never into them.

Deviations of int8 on a CPU: layers whose input carries gradients compute with the dequantised weights; the
others quantise activations too, as the paper does, so that a dev loss differs a little from a training loss.
"""

import logging
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import DEQUANTISED, LINEAR_ROLES, BackboneShape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

NF4, INT8 = "nf4", "int8"
QUANTIZATIONS = (NF4, INT8)

_BITS: Mapping[str, float] = {NF4: 4 + 8 / 64 + 32 / (64 * 256), INT8: 8.0}
"""Bits of one weight, with the scales of its block; int8's scales are one number an output."""

_OUTLIER = 6.0
"""Features beyond it are computed in 16 bits (arXiv:2208.07339, section 3)."""


def require_extra(kind: str) -> None:
    """Require the package that quantises.

    Raises:
        BackboneError: If it is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise BackboneError(
            f"backbone.quantization={kind} must have the extra quantization, got none installed: "
            "pip install 'pedro_bench[quantization]'."
        )


def weight_bytes(shape: BackboneShape, kind: str | None, number_bytes: int) -> float:
    """Return the bytes that a backbone's weights take, from its sizes alone.

    Args:
        shape: Its sizes.
        kind: One of QUANTIZATIONS, or None.
        number_bytes: Bytes of one number of the dtype.
    """
    if kind is None:
        return float(shape.num_parameters * number_bytes)
    roles = [role for role in LINEAR_ROLES if role in shape.widths[0]]
    entries = sum(width.inputs * width.outputs for _, _, width in shape.each(roles))
    return entries * _BITS[kind] / 8 + (shape.num_parameters - entries) * number_bytes


def quantise(model: Any, kind: str, device: str) -> None:
    """Replace the linear layers of a frozen model in place, one after the other, each on the device.

    Args:
        model: A model of Transformers, on any device; it is not moved as a whole.
        kind: One of QUANTIZATIONS.
        device: Where the quantised layers go.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every cast to 16 bits
    head = model.get_output_embeddings()
    kept = set(model._keep_in_fp32_modules or ())
    for path, module in list(model.named_modules()):
        if module is head or not _is_linear(module):
            continue
        parent, _, name = path.rpartition(".")
        if name in kept:
            continue
        setattr(model.get_submodule(parent), name, _quantised(module, kind, device))


def dequantised(module: Any) -> "Tensor":
    """Return the weights (O, I) that a quantised layer computes with, in its own float type."""
    from bitsandbytes import functional

    weight = module.weight
    state = getattr(weight, "quant_state", None)
    if state is not None:
        return functional.dequantize_4bit(weight.data, state)  # type: ignore[no-any-return]
    scales = module.state.SCB if module.state.SCB is not None else weight.SCB
    return weight.data.float() * scales[:, None] / 127  # type: ignore[no-any-return]


def _is_linear(module: Any) -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _quantised(module: Any, kind: str, device: str) -> "nn.Module":
    """Return the quantised layer of a linear one, or of Transformers' transposed one."""
    from bitsandbytes import nn as bnb
    from torch import nn

    weight: torch.Tensor = module.weight.detach()
    if not isinstance(module, nn.Linear):
        weight = weight.mT.contiguous()
    outputs, inputs = weight.shape
    has_bias = module.bias is not None
    made: Any
    if kind == NF4:
        made = bnb.Linear4bit(
            inputs,
            outputs,
            bias=has_bias,
            compute_dtype=weight.dtype,
            compress_statistics=True,
            quant_type=NF4,
            device="meta",
        )
        made.weight = bnb.Params4bit(
            weight.to("cpu"),
            requires_grad=False,
            compress_statistics=True,
            quant_type=NF4,
            module=made,
        )
        # Else some CPUs repack the weights at the first answer and go on in bfloat16, in training too.
        made.support_avx512bf16_for_cpu = False
    else:
        made = bnb.Linear8bitLt(
            inputs,
            outputs,
            bias=has_bias,
            has_fp16_weights=False,
            threshold=_OUTLIER,
            device="meta",
        )
        made.weight = bnb.Int8Params(weight.to("cpu"), requires_grad=False, has_fp16_weights=False)
    if has_bias:
        made.bias = nn.Parameter(module.bias.detach(), requires_grad=False)
    made = made.to(device).eval()  # quantised on its way there
    setattr(made, DEQUANTISED, partial(dequantised, made))
    return made  # type: ignore[no-any-return]
