"""LPT against its equations written out once more, on a hand-made Llama forward.

The reference shares no code with the package: it reads the backbone's weights and the generator's
parameters and computes the whole decoder itself, one unpadded example at a time.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method, pad_left, rows_of, save_tiny

LAYERS = 4
TOKENS = 4
LENGTHS = ((6, 3), (2, 2), (9, 1), (1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("deep"), num_hidden_layers=LAYERS)


def adapt(folder: Path, *, attention: str = "sdpa", **changes: Any) -> AdaptedModel:
    """A model of four layers, in double precision unless attention is eager.

    Transformers' eager attention takes its softmax in single precision, where the lowest number of
    double precision is minus infinity, and a row of nothing but padding has no value.
    """
    config = Pretrained(name="deep", label="deep", path=str(folder), attn_implementation=attention)
    backbone = config.load(device="cpu")
    precision = torch.float64 if attention == "sdpa" else torch.float32
    backbone.model.to(precision)
    torch.manual_seed(3)
    sizes = {"num_virtual_tokens": TOKENS, "bottleneck_size": 10}
    adapted = AdaptedModel(backbone, build_method("lpt", **{**sizes, **changes}))
    adapted.adapter.to(precision)
    return adapted.eval()


def pooled(inner_nM: Tensor, kind: str) -> Tensor:
    count = inner_nM.shape[0]
    rows = []
    for i in range(TOKENS):
        start, end = i * count // TOKENS, math.ceil((i + 1) * count / TOKENS)
        window = inner_nM[start:end]
        rows.append(window.mean(0) if kind == "mean" else window.max(0).values)
    return torch.stack(rows)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def rotate(x_THd: Tensor, theta: float) -> Tensor:
    tokens, _, width = x_THd.shape
    frequencies = theta ** (-torch.arange(0, width, 2).float() / width)
    angles = torch.outer(torch.arange(tokens).float(), frequencies)
    cos, sin = angles.cos().to(x_THd)[:, None], angles.sin().to(x_THd)[:, None]
    first, second = x_THd.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def layer_output(h: Tensor, w: dict[str, Tensor], config: Any) -> Tensor:
    """One decoder layer over a whole sequence (T, d) at positions 0 … T-1."""
    tokens = h.shape[0]
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    x = rms_norm(h, w["input_layernorm.weight"], config.rms_norm_eps)
    q, k, v = (x @ w[f"self_attn.{name}_proj.weight"].t() for name in "qkv")
    theta = config.rope_parameters["rope_theta"]
    q = rotate(q.view(tokens, heads, -1), theta)
    k = rotate(k.view(tokens, kv, -1), theta).repeat_interleave(heads // kv, 1)
    v = v.view(tokens, kv, -1).repeat_interleave(heads // kv, 1)
    causal = torch.full((tokens, tokens), float("-inf")).to(h).triu(1)
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + causal
    mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(tokens, -1)
    h = h + mixed @ w["self_attn.o_proj.weight"].t()
    x = rms_norm(h, w["post_attention_layernorm.weight"], config.rms_norm_eps)
    gate, up = (x @ w[f"mlp.{name}_proj.weight"].t() for name in ("gate", "up"))
    return h + (gate * torch.sigmoid(gate) * up) @ w["mlp.down_proj.weight"].t()


def reference_logits(
    model: Any, adapter: dict[str, Tensor], ids: list[int], prompt: int, *, after: int, kind: str
) -> Tensor:
    """Logits (T, V) of one unpadded example; the late prompt joins after `after` layers."""
    weights, config = model.state_dict(), model.config
    h = weights["model.embed_tokens.weight"][ids]
    for layer in range(LAYERS):
        if layer == after:
            inner = h[:prompt] @ adapter["generator.down.weight"].t()
            inner = pooled(inner + adapter["generator.down.bias"], kind)
            late = inner.clamp(min=0) @ adapter["generator.up.weight"].t()
            h = torch.cat([late + adapter["generator.up.bias"], h])
        start = f"model.layers.{layer}."
        own = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        h = layer_output(h, own, config)
    h = rms_norm(h[TOKENS:], weights["model.norm.weight"], config.rms_norm_eps)
    return h @ weights["lm_head.weight"].t()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("layer", "kind", "attention"),
    [(None, "max", "sdpa"), (None, "mean", "eager"), (1, "max", "eager"), (3, "mean", "sdpa")],
)
def test_logits_and_gradients_equal_the_equations(
    side: str,
    layer: int | None,
    kind: str,
    attention: str,
    folder: Path,
    make_batch: Callable[..., Any],
) -> None:
    """Prompts shorter and longer than the late prompt; padding on either side."""
    batch = make_batch(LENGTHS)
    adapted = adapt(folder, attention=attention, layer=layer, pooling=kind)
    given = adapted.answer_logits(batch if side == "right" else pad_left(batch))[0]
    leaves = {
        key: value.detach().clone().requires_grad_()
        for key, value in adapted.adapter.named_parameters()
    }
    after = LAYERS // 2 if layer is None else layer
    expected = torch.cat(
        [
            reference_logits(adapted.model, leaves, ids, prompt, after=after, kind=kind)[
                prompt - 1 : -1
            ]
            for ids, prompt in rows_of(batch)
        ]
    )
    torch.testing.assert_close(given, expected.float(), rtol=0, atol=2e-5)
    upstream = torch.randn(given.shape, generator=torch.Generator().manual_seed(4))
    (given * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for key, parameter in adapted.adapter.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[key].grad, rtol=1e-4, atol=2e-5)


def test_lower_and_upper_layers_see_different_lengths(
    folder: Path, make_batch: Callable[..., Any]
) -> None:
    """In every forward of a generation; the cache itself holds the text alone."""
    adapted = adapt(folder)
    batch = pad_left(make_batch(LENGTHS))
    ids, mask = batch.input_ids_BT, batch.attention_mask_BT.long()
    seen: list[tuple[int, int, int]] = []
    for layer, block in enumerate(adapted.model.model.layers):
        block.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs, layer=layer: seen.append(
                (layer, kwargs["hidden_states"].shape[1], kwargs["attention_mask"].shape[-1])
            ),
            with_kwargs=True,
        )
    with torch.no_grad(), adapted.context(mask.bool()).active() as context:
        output = adapted.model(input_ids=ids, attention_mask=mask, use_cache=True)
        cache = output.past_key_values
        longer = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        adapted.model(input_ids=ids[:, -1:], attention_mask=longer, past_key_values=cache)
    width = ids.shape[1]
    upper = width + TOKENS
    assert seen == [
        (0, width, width),
        (1, width, width),
        (2, upper, upper),
        (3, upper, upper),
        (0, 1, width + 1),
        (1, 1, width + 1),
        (2, 1, upper + 1),
        (3, 1, upper + 1),
    ]
    assert [cache.get_seq_length(layer) for layer in range(LAYERS)] == [width + 1] * LAYERS
    kept = {key: [tensor.shape[1] for tensor in pair] for key, pair in context.state.items()}
    assert kept == {"virtual tokens/2": [TOKENS] * 2, "virtual tokens/3": [TOKENS] * 2}


@pytest.mark.parametrize("num_beams", [1, 3])
def test_decoding_equals_the_equations(
    num_beams: int, folder: Path, make_batch: Callable[..., Any]
) -> None:
    """Prompts of mixed lengths together give what each gives alone; greedily, the equations' text."""
    adapted = adapt(folder)
    prompts = [
        Encoded(tuple(ids[:prompt]), (), index)
        for index, (ids, prompt) in enumerate(rows_of(make_batch(LENGTHS)))
    ]
    options = {"num_beams": num_beams, "max_new_tokens": 5}
    together = generate(adapted, prompts, batch_size=4, **options)
    alone = [generate(adapted, [prompt], batch_size=1, **options)[0] for prompt in prompts]
    assert together == alone
    if num_beams == 1:
        assert together == [greedy(adapted, list(prompt.prompt_ids)) for prompt in prompts]


def greedy(adapted: AdaptedModel, prompt: list[int]) -> str:
    adapter, made = adapted.adapter_state(), []
    while len(made) < 5 and 2 not in made:
        logits = reference_logits(
            adapted.model, adapter, [*prompt, *made], len(prompt), after=2, kind="max"
        )
        made.append(int(logits[-1].argmax()))
    return str(adapted.backbone.tokenizer.decode(made, skip_special_tokens=True))


@pytest.mark.parametrize("layer", [4, 9])
def test_a_layer_that_is_not_below_another_is_refused(layer: int, folder: Path) -> None:
    with pytest.raises(
        InjectionError,
        match=rf"method\.layer must be .* below the backbone's 4 layers, got {layer}",
    ):
        adapt(folder, layer=layer)


def test_parameters_on_llama2_7b() -> None:

    from pedro_bench.protocols.settings import build_group
    from tests.tiny import CONF, read_yaml

    config = read_yaml(CONF / "backbone" / "llama2_7b.yaml")
    count = build_method("lpt").count(build_group("backbone", config).shape())
    assert (count.matrices, count.trainable) == (8_388_608, 8_393_728)


@pytest.mark.parametrize("side", ["right", "left"])
def test_with_learned_positions_late_tokens_have_none_and_move_none(
    side: str, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """GPT-2: its own modules, called by hand, one unpadded example at a time."""
    batch = make_batch(LENGTHS)
    sizes = {"num_virtual_tokens": TOKENS, "bottleneck_size": 10}
    torch.manual_seed(3)
    adapted = AdaptedModel(load_tiny("gpt2"), build_method("lpt", **sizes)).eval()
    with torch.no_grad():
        given = adapted.answer_logits(batch if side == "right" else pad_left(batch))[0]
        own, bare = adapted.adapter_state(), load_tiny("gpt2").model
        below, above = bare.transformer.h
        expected = []
        for ids, prompt in rows_of(batch):
            h = bare.transformer.wte(torch.tensor(ids)) + bare.transformer.wpe.weight[: len(ids)]
            h = below(h[None], use_cache=False)
            h = (h[0] if isinstance(h, tuple) else h)[0]
            inner = h[:prompt] @ own["generator.down.weight"].t() + own["generator.down.bias"]
            late = pooled(inner, "max").clamp(min=0) @ own["generator.up.weight"].t()
            h = above(torch.cat([late + own["generator.up.bias"], h])[None], use_cache=False)
            h = (h[0] if isinstance(h, tuple) else h)[0, TOKENS:]
            expected.append(bare.lm_head(bare.transformer.ln_f(h))[prompt - 1 : -1])
    torch.testing.assert_close(given, torch.cat(expected), rtol=0, atol=2e-5)
