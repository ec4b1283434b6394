"""A Llama decoder written out in einsum, which lets a test change the output of any projection.

It shares no code with the package: it reads the backbone's weights from a state dict.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Change = Callable[[str, int, Tensor], Tensor]
"""(role, layer, the projection's output (T, O)) -> the output that goes on."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def rotate(x_THd: Tensor, theta: float) -> Tensor:
    tokens, _, width = x_THd.shape
    frequencies = theta ** (-torch.arange(0, width, 2).double() / width)
    angles = torch.outer(torch.arange(tokens).double(), frequencies).to(x_THd)
    cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
    first, second = x_THd.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def logits_of(weights: dict[str, Tensor], config: Any, ids: list[int], change: Change) -> Tensor:
    """Logits (T, V) of one unpadded example."""
    tokens = len(ids)
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    eps, theta = config.rms_norm_eps, config.rope_parameters["rope_theta"]
    h_TD = weights["model.embed_tokens.weight"][ids]
    causal = torch.full((tokens, tokens), float("-inf")).to(h_TD).triu(1)
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}."

        def project(role: str, name: str, x: Tensor, p: str = p, layer: int = layer) -> Tensor:
            return change(role, layer, torch.einsum("ti,oi->to", x, weights[f"{p}{name}.weight"]))

        x = rms_norm(h_TD, weights[f"{p}input_layernorm.weight"], eps)
        q = rotate(project("query", "self_attn.q_proj", x).view(tokens, heads, -1), theta)
        k = rotate(project("key", "self_attn.k_proj", x).view(tokens, kv, -1), theta)
        v = project("value", "self_attn.v_proj", x).view(tokens, kv, -1)
        k, v = (part.repeat_interleave(heads // kv, 1) for part in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + causal
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(tokens, -1)
        h_TD = h_TD + project("attn_out", "self_attn.o_proj", mixed)
        x = rms_norm(h_TD, weights[f"{p}post_attention_layernorm.weight"], eps)
        gate = project("ffn_gate", "mlp.gate_proj", x)
        inner = gate * torch.sigmoid(gate) * project("ffn_up", "mlp.up_proj", x)
        h_TD = h_TD + project("ffn_down", "mlp.down_proj", inner)
    h_TD = rms_norm(h_TD, weights["model.norm.weight"], eps)
    return torch.einsum("td,vd->tv", h_TD, weights["lm_head.weight"])
