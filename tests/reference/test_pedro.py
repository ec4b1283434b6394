"""PEDRO against equations 3-7 written out once more, in plain einsum, on a hand-made Llama forward.

The reference shares no code with the package: it reads the backbone's weights and the generators'
parameters from their state dicts and computes the whole decoder itself.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.runs.identity import run_key
from tests.reference.plain_llama import rms_norm, rotate
from tests.tiny import build_method, pad_left

ROLE_ORDER = {
    "pedro": ("q", "v", "up"),
    "pedro_1": ("q", "v", "up"),
    "pedro_2": ("q", "v", "up"),
    "pedro_3": ("q", "k", "v", "gate", "up"),
    "pedro_4": ("q", "v"),
    "pedro_5": ("q", "v", "up"),
    "pedro_6": ("q", "v", "up"),
    "pedro_7": ("q", "v", "up"),
}


def activation(name: str, layer: int, layers: int, g: dict[str, Tensor], x: Tensor) -> Tensor:
    if name in ("pedro_5",) or (name == "pedro_7" and layer < layers // 2):
        return torch.relu(x)
    if name in ("pedro_6", "pedro_7"):
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    a, b = g["activation.numerator"], g["activation.denominator"]
    above = sum(a[j] * x**j for j in range(7))
    below = 1 + abs(sum(b[i - 1] * x**i for i in range(1, 6)))
    return above / below


READS_NORMALISED = ("pedro", "pedro_1", "pedro_7")
"""Configurations that are also compared with `reads=normalised`."""


def pooled(name: str, h_TD: Tensor, prompt: int) -> Tensor:
    if name == "pedro_1":
        return h_TD[:prompt].mean(0)
    if name == "pedro_2":
        return h_TD[:prompt].max(0).values
    return h_TD[prompt - 1]


def reference_logits(
    name: str,
    weights: dict[str, Tensor],
    adapter: dict[str, Tensor],
    config: Any,
    ids: list[int],
    prompt: int,
    reads: str,
) -> Tensor:
    """Logits (T, V) of one unpadded example with `prompt` prompt tokens."""
    tokens = len(ids)
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    h = weights["model.embed_tokens.weight"][ids]
    causal = torch.full((tokens, tokens), float("-inf")).to(h).triu(1)
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}."
        w = {key.removeprefix(p): value for key, value in weights.items() if key.startswith(p)}
        start = f"layers.{layer}.generator."
        g = {
            key.removeprefix(start): value
            for key, value in adapter.items()
            if key.startswith(start)
        }
        x = rms_norm(h, w["input_layernorm.weight"], config.rms_norm_eps)
        # eq. (6)
        read = h if reads == "residual" else x
        inner = torch.einsum("d,dr->r", pooled(name, read, prompt), g["down"])
        inner = activation(name, layer, config.num_hidden_layers, g, inner)
        vector = torch.einsum("r,ro->o", inner, g["up"]) + g["bias"]
        sizes = {
            "q": w["self_attn.q_proj.weight"].shape[0],
            "k": w["self_attn.k_proj.weight"].shape[0],
            "v": w["self_attn.v_proj.weight"].shape[0],
            "gate": w["mlp.gate_proj.weight"].shape[0],
            "up": w["mlp.up_proj.weight"].shape[0],
        }
        roles = ROLE_ORDER[name]
        split = dict(zip(roles, vector.split([sizes[role] for role in roles]), strict=True))
        # eq. (4)
        q, k, v = (
            torch.einsum("td,od->to", x, w[f"self_attn.{r}_proj.weight"]) * split.get(r, 1)
            for r in ("q", "k", "v")
        )
        theta = config.rope_parameters["rope_theta"]
        q = rotate(q.view(tokens, heads, -1), theta)
        k = rotate(k.view(tokens, kv, -1), theta).repeat_interleave(heads // kv, 1)
        v = v.view(tokens, kv, -1).repeat_interleave(heads // kv, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + causal
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(tokens, -1)
        h = h + torch.einsum("to,do->td", mixed, w["self_attn.o_proj.weight"])
        # eq. (5)
        x = rms_norm(h, w["post_attention_layernorm.weight"], config.rms_norm_eps)
        gate = torch.einsum("td,fd->tf", x, w["mlp.gate_proj.weight"]) * split.get("gate", 1)
        up = torch.einsum("td,fd->tf", x, w["mlp.up_proj.weight"]) * split.get("up", 1)
        inner_TF = gate * torch.sigmoid(gate) * up
        h = h + torch.einsum("tf,df->td", inner_TF, w["mlp.down_proj.weight"])
    h = rms_norm(h, weights["model.norm.weight"], config.rms_norm_eps)
    return torch.einsum("td,vd->tv", h, weights["lm_head.weight"])


@pytest.mark.parametrize(
    ("name", "reads"),
    [(name, "residual") for name in sorted(ROLE_ORDER)]
    + [(name, "normalised") for name in READS_NORMALISED],
)
@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_and_gradients_equal_the_equations(
    name: str,
    reads: str,
    side: str,
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    backbone = load_tiny()
    backbone.model.double()
    torch.manual_seed(3)
    adapted = AdaptedModel(backbone, build_method(name, reads=reads))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapted.eval()
    batch = make_batch(((6, 3), (4, 2), (9, 1)))
    rows = [
        (
            batch.input_ids_BT[i][batch.attention_mask_BT[i].bool()].tolist(),
            int(batch.prompt_mask_BT[i].sum()),
        )
        for i in range(3)
    ]
    given = adapted.answer_logits(batch if side == "right" else pad_left(batch))[0]
    upstream = torch.randn(given.shape, generator=generator)
    (given * upstream).sum().backward()
    weights = {key: value.double() for key, value in backbone.model.state_dict().items()}
    leaves = {
        key: value.detach().double().requires_grad_()
        for key, value in adapted.adapter.named_parameters()
    }
    expected = torch.cat(
        [
            reference_logits(name, weights, leaves, backbone.model.config, ids, prompt, reads)[
                prompt - 1 : -1
            ]
            for ids, prompt in rows
        ]
    )
    (expected * upstream).sum().backward()
    torch.testing.assert_close(given.double(), expected, rtol=1e-4, atol=1e-4)
    for key, parameter in adapted.adapter.named_parameters():
        scale = float(leaves[key].grad.abs().max())
        torch.testing.assert_close(
            parameter.grad.double(), leaves[key].grad, rtol=1e-3, atol=1e-5 + 1e-4 * scale, msg=key
        )


@pytest.mark.parametrize("family", ["llama", "gemma", "phi3", "gpt2", "gpt_neox", "falcon"])
def test_normalised_inputs_are_what_queries_are_projected_from(
    family: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Once for each prompt and layer, with the same parameters and the start of the default."""
    backbone = load_tiny(family)
    read: list[Tensor] = []
    for site in backbone.sites("query"):
        site.module.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    method = build_method("pedro", reads="normalised")
    assert method.count(backbone.shape) == build_method("pedro").count(backbone.shape)
    adapted = AdaptedModel(backbone, method).eval()
    seen: list[Tensor] = []
    for layer in range(2):
        generator = adapted.adapter.get_submodule(f"layers.{layer}.generator")
        generator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        given = adapted.answer_logits(make_batch())[0]
    assert len(seen) == len(read) == 2
    assert all(torch.equal(one, other) for one, other in zip(seen, read, strict=True))
    adapted.remove()
    plain = AdaptedModel(backbone, build_method("pedro")).eval()
    with torch.no_grad():
        assert torch.equal(plain.answer_logits(make_batch())[0], given)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_normalised_inputs_are_refused_where_no_decoder_reads_the_prompt(
    family: str, load_tiny: Callable[..., Any]
) -> None:
    with pytest.raises(
        InjectionError, match=r"method\.reads must be residual unless .* an encoder"
    ):
        AdaptedModel(load_tiny(family), build_method("pedro", reads="normalised"))


def test_what_is_read_moves_no_key_that_was_there() -> None:
    keys = [
        run_key(settings_of([*given, "device=cpu"])) for given in ([], ["method.reads=residual"])
    ]
    assert keys[0] == keys[1]
    assert run_key(settings_of(["method.reads=normalised", "device=cpu"])) != keys[0]
    with pytest.raises(
        ConfigError, match=r"method\.reads .* got 'normalized'. Did you mean 'normalised'"
    ):
        build_method("pedro", reads="normalized")
