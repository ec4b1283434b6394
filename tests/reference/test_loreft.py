"""LoReFT against its equation written out once more, on a Llama decoder in plain einsum.

The reference reads the trained tensors, multiplies R out of whole reflection matrices, and changes
the residual stream position by position, one unpadded example at a time.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.methods.loreft.layers import SubspaceIntervention, ends_of
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.reference.plain_llama import rms_norm, rotate
from tests.tiny import build_method, pad_left, rows_of

LENGTHS = ((6, 3), (4, 2), (9, 1), (1, 2))


def basis(reflections: Tensor) -> Tensor:
    """R^T (D, R): the first columns of the product of the reflections, each as a whole matrix."""
    size, rank = reflections.shape
    product = torch.eye(size, dtype=reflections.dtype)
    for column in range(rank):
        v = torch.cat(
            [
                torch.zeros(column, dtype=reflections.dtype),
                torch.ones(1, dtype=reflections.dtype),
                reflections[column + 1 :, column],
            ]
        )
        unit = v / v.norm()
        product = product @ (torch.eye(size, dtype=v.dtype) - 2 * torch.outer(unit, unit))
    return product[:, :rank]


def chosen(prompt: int, prefix: int, suffix: int) -> tuple[set[int], set[int]]:
    """Positions of an example's prefix and suffix, counted from 0."""
    first = min(prompt // 2, prefix)
    last = min(prompt // 2, suffix)
    return set(range(first)), set(range(prompt - last, prompt))


def intervened(h_TD: Tensor, adapter: dict[str, Tensor], path: str, places: set[int]) -> Tensor:
    """h + R^T (W h + b - R h) at the places."""
    columns = basis(adapter[f"{path}.reflections"])
    weight, bias = adapter[f"{path}.source.weight"], adapter[f"{path}.source.bias"]
    rows = []
    for place, h in enumerate(h_TD):
        if place in places:
            source = torch.einsum("rd,d->r", weight, h) + bias
            h = h + torch.einsum("dr,r->d", columns, source - torch.einsum("dr,d->r", columns, h))
        rows.append(h)
    return torch.stack(rows)


def reference_logits(
    weights: dict[str, Tensor],
    adapter: dict[str, Tensor],
    config: Any,
    ids: list[int],
    change: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Logits (T, V) of one unpadded example; `change` gets each layer's output."""
    tokens = len(ids)
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    h = weights["model.embed_tokens.weight"][ids]
    causal = torch.full((tokens, tokens), float("-inf")).to(h).triu(1)
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}."
        w = {key.removeprefix(p): value for key, value in weights.items() if key.startswith(p)}
        x = rms_norm(h, w["input_layernorm.weight"], config.rms_norm_eps)
        q, k, v = (torch.einsum("td,od->to", x, w[f"self_attn.{r}_proj.weight"]) for r in "qkv")
        theta = config.rope_parameters["rope_theta"]
        q = rotate(q.view(tokens, heads, -1), theta)
        k = rotate(k.view(tokens, kv, -1), theta).repeat_interleave(heads // kv, 1)
        v = v.view(tokens, kv, -1).repeat_interleave(heads // kv, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + causal
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(tokens, -1)
        h = h + torch.einsum("to,do->td", mixed, w["self_attn.o_proj.weight"])
        x = rms_norm(h, w["post_attention_layernorm.weight"], config.rms_norm_eps)
        gate, up = (torch.einsum("td,fd->tf", x, w[f"mlp.{r}_proj.weight"]) for r in ("gate", "up"))
        h = h + torch.einsum(
            "tf,df->td", gate * torch.sigmoid(gate) * up, w["mlp.down_proj.weight"]
        )
        h = change(layer, h)
    h = rms_norm(h, weights["model.norm.weight"], config.rms_norm_eps)
    return torch.einsum("td,vd->tv", h, weights["lm_head.weight"])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "changes",
    [
        {"r": 4, "prefix": 2, "suffix": 3},
        {"r": 3, "prefix": 3, "suffix": 1, "tied": False},
        {"r": 1, "prefix": 0, "suffix": 2, "layers": [1]},
        {"r": 32, "prefix": 2, "suffix": 0, "layers": [0]},
    ],
)
def test_logits_and_gradients_equal_the_equation(
    changes: dict[str, Any],
    side: str,
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    backbone = load_tiny()
    backbone.model.double()
    torch.manual_seed(3)
    method = build_method("loreft", **changes)
    adapted = AdaptedModel(backbone, method)
    adapted.adapter.double()
    generator = torch.Generator().manual_seed(4)
    for parameter in adapted.adapter.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    adapted.eval()
    batch = make_batch(LENGTHS)
    given = adapted.answer_logits(batch if side == "right" else pad_left(batch))[0]
    leaves = {
        key: value.detach().clone().requires_grad_()
        for key, value in adapted.adapter.named_parameters()
    }
    weights = {key: value.double() for key, value in backbone.model.state_dict().items()}
    rows = []
    for ids, prompt in rows_of(batch):
        first, last = chosen(prompt, method.prefix, method.suffix)

        def change(layer: int, h: Tensor, first: set[int] = first, last: set[int] = last) -> Tensor:
            if method.layers is not None and layer not in method.layers:
                return h
            if method.tied:
                return intervened(h, leaves, f"layers.{layer}.both", first | last)
            h = intervened(h, leaves, f"layers.{layer}.prefix", first)
            return intervened(h, leaves, f"layers.{layer}.suffix", last)

        logits = reference_logits(weights, leaves, backbone.model.config, ids, change)
        rows.append(logits[prompt - 1 : -1])
    expected = torch.cat(rows)
    torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(given.shape, generator=generator)
    (given * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for key, parameter in adapted.adapter.named_parameters():
        scale = float(leaves[key].grad.abs().max())
        assert scale > 1e-3 or key.startswith("layers.1.prefix"), key  # no token reads that one
        torch.testing.assert_close(
            parameter.grad, leaves[key].grad, rtol=1e-3, atol=1e-5 * (1 + scale), msg=key
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generation_with_the_cache_is_that_without(
    num_beams: int, tied: bool, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Beams read the last prompt token again: it must be changed again, and no answer token be."""
    torch.manual_seed(6)
    backbone = load_tiny()
    adapted = AdaptedModel(backbone, build_method("loreft", tied=tied, prefix=2, suffix=2)).eval()
    for key, parameter in adapted.adapter.named_parameters():
        if key.endswith("source.bias"):
            parameter.data.mul_(40)
    prompts = [Encoded(tuple(ids[:n]), (), 0) for ids, n in rows_of(make_batch(((7, 1), (3, 1))))]
    options = {"num_beams": num_beams, "max_new_tokens": 4, "batch_size": 2}
    told = generate(adapted, prompts, **options)
    for prompt, text in zip(prompts, told, strict=True):
        assert text == _without_cache(adapted, prompt.prompt_ids, num_beams)
    adapted.remove()
    assert generate_bare(load_tiny(), prompts, options) != told, "it must act to be seen"


def _without_cache(adapted: AdaptedModel, prompt: tuple[int, ...], num_beams: int) -> str:
    """Beam search over whole sequences, each read anew."""
    tokenizer = adapted.backbone.tokenizer
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(4):
        grown = []
        for score, made in beams:
            ids = torch.tensor([[*prompt, *made]])
            mask = torch.zeros_like(ids, dtype=torch.bool)
            mask[:, : len(prompt)] = True
            with torch.no_grad(), adapted.context(mask).active():
                logits = adapted.model(input_ids=ids, use_cache=False).logits[0, -1]
            best = logits.log_softmax(-1).topk(2 * num_beams)
            for value, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                grown.append((score + value, [*made, token]))
        grown.sort(key=lambda one: -one[0])
        ended = [one for one in grown[:num_beams] if one[1][-1] == tokenizer.eos_token_id]
        finished += [(score / len(made), made) for score, made in ended]
        beams = [one for one in grown if one[1][-1] != tokenizer.eos_token_id][:num_beams]
    finished += [(score / len(made), made) for score, made in beams]
    best_made = max(finished, key=lambda one: one[0])[1]
    kept = [token for token in best_made if token != tokenizer.eos_token_id]
    text: str = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def generate_bare(backbone: Any, prompts: list[Encoded], options: dict[str, Any]) -> list[str]:
    """Answers where no position is changed: LoRA at its start is the backbone."""
    return generate(AdaptedModel(backbone, build_method("lora")).eval(), prompts, **options)


def test_r_has_orthonormal_rows_whatever_is_trained() -> None:
    torch.manual_seed(1)
    for rank in (1, 5, 12):
        block = SubspaceIntervention(12, rank, dropout=0.0)
        expected = torch.eye(rank)
        torch.testing.assert_close(block.basis().T @ block.basis(), expected, rtol=0, atol=1e-5)
        block.reflections.data.add_(3 * torch.randn(12, rank))
        torch.testing.assert_close(block.basis().T @ block.basis(), expected, rtol=0, atol=1e-5)


def test_r_starts_as_a_random_basis_of_any_direction() -> None:
    """Each entry of an orthonormal basis drawn without preference has variance 1/D."""
    torch.manual_seed(1)
    drawn = torch.stack(
        [SubspaceIntervention(8, 2, dropout=0.0).basis().detach() for _ in range(500)]
    )
    torch.testing.assert_close(
        drawn.square().mean(0), torch.full((8, 2), 1 / 8), rtol=0, atol=0.025
    )


def test_the_subspace_is_that_of_the_authors_parametrisation() -> None:
    """PyTorch's `orthogonal`, which pyreft uses, makes the same matrix of them, up to signs."""
    torch.manual_seed(2)
    block = SubspaceIntervention(10, 3, dropout=0.0)
    layer = nn.Linear(3, 10, bias=False)
    nn.utils.parametrizations.orthogonal(layer, use_trivialization=False)
    layer.weight = block.basis().detach()
    block.reflections.data.add_(0.3 * torch.randn(10, 3).tril(-1))
    original: Any = layer.parametrizations.weight.original
    original.data.copy_(block.reflections.tril(-1) + original.data.triu())
    signs = original.diagonal().sign()
    torch.testing.assert_close(block.basis() * signs, layer.weight, rtol=0, atol=1e-5)


def test_ends_of_prompts_with_padding_and_answers() -> None:
    mask = torch.tensor(
        [
            [False, True, True, True, True, True, False],
            [True, True, True, False, False, False, False],
            [False, False, False, False, True, False, False],
        ]
    )
    first, last = ends_of(mask, 3, 1)
    assert [row.nonzero().flatten().tolist() for row in first] == [[1, 2], [0], []]
    assert [row.nonzero().flatten().tolist() for row in last] == [[5], [2], []]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 0}, r"method\.r must be a whole number of at least 1, got 0"),
        ({"prefix": -1}, r"method\.prefix must be a whole number of at least 0, got -1"),
        ({"prefix": 0, "suffix": 0}, r"method\.suffix must be at least 1 with .*prefix=0, got 0"),
        ({"prefix": 0, "tied": False}, r"method\.tied must be true where .* got False"),
        ({"layers": [0, 0]}, r"method\.layers must list distinct layers.* got \[0, 0\]"),
        ({"layers": []}, r"method\.layers must list distinct layers.* got \[\]"),
        ({"layers": [-1]}, r"method\.layers must be a whole number of at least 0, got -1"),
        ({"layers": 1}, r"method\.layers must be a list of layers, got 1"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_method("loreft", **changes)


def test_settings_that_do_not_fit_the_backbone_are_refused(load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny()
    for changes, message in (
        ({"layers": [0, 2]}, r"method\.layers must be below the backbone's 2 layers, got 2"),
        ({"r": 33}, r"method\.r must be at most the backbone's hidden size 32, got 33"),
    ):
        method = build_method("loreft", **changes)
        with pytest.raises((ConfigError, InjectionError), match=message):
            method.count(backbone.shape)
        with pytest.raises((ConfigError, InjectionError), match=message):
            AdaptedModel(backbone, method)
