"""Prefixes and virtual tokens on encoders, against Transformers' modules run by hand.

BERT counts positions from 0, RoBERTa from the one after its padding token's id. Virtual tokens take the first
ones, and the text, of whose tokens the types are, those behind them.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Batch
from tests.tiny import ENCODERS, build_method

TOKENS = 5
LENGTHS = (9, 6)


def batch_of(lengths: tuple[int, ...]) -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 40, (len(lengths), max(lengths)), generator=generator)
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids[:, 3] = 2  # the separator: what follows is the second text
    return Batch(ids.masked_fill(~real, 0), real, real, torch.full_like(ids, -100))


def adapt(backbone: Any, name: str) -> AdaptedModel:
    sizes = {"num_virtual_tokens": TOKENS}
    adapted = AdaptedModel(backbone, build_method(name, **sizes)).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return adapted


def types_of(name: str, length: int) -> Tensor:
    second = (torch.arange(length) > 3) & (name == "bert")
    return second.long()[None]


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_virtual_tokens_are_read_as_embeddings_in_front_of_the_text(
    load_tiny: Callable[..., Any], name: str
) -> None:
    """Transformers counts the positions of embeddings itself."""
    batch, adapted = batch_of(LENGTHS), adapt(load_tiny(name), "prompt_tuning")
    given_BTD = adapted._hidden(batch).detach()
    prompt_PD = adapted.adapter.prompt.embedding.detach()
    bare = load_tiny(name).model
    for row, length in enumerate(LENGTHS):
        words_TD = bare.get_input_embeddings()(batch.input_ids_BT[row, :length])
        types = torch.cat([torch.zeros(1, TOKENS).long(), types_of(name, length)], 1)
        with torch.no_grad():
            expected_TD = bare(
                inputs_embeds=torch.cat([prompt_PD, words_TD])[None], token_type_ids=types
            ).last_hidden_state[0, TOKENS:]
        torch.testing.assert_close(given_BTD[row, :length], expected_TD, rtol=0, atol=2e-5)


def attended(block: Any, h_TD: Tensor, keys_PD: Tensor, values_PD: Tensor, heads: int) -> Tensor:
    """One layer over a text (T, D), whose tokens see the prefix and each other."""
    attention = getattr(block.attention, "self")  # noqa: B009  # a name that reads as a mistake
    q = attention.query(h_TD).unflatten(1, (heads, -1))
    k = torch.cat([keys_PD, attention.key(h_TD)]).unflatten(1, (heads, -1))
    v = torch.cat([values_PD, attention.value(h_TD)]).unflatten(1, (heads, -1))
    weights = (torch.einsum("qhw,khw->hqk", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    mixed = torch.einsum("hqk,khw->qhw", weights, v).flatten(1)
    h_TD = block.attention.output.LayerNorm(h_TD + block.attention.output.dense(mixed))
    inner = torch.nn.functional.gelu(block.intermediate.dense(h_TD))
    normed: Tensor = block.output.LayerNorm(h_TD + block.output.dense(inner))
    return normed


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_a_prefix_is_seen_by_the_text_whose_positions_follow_it(
    load_tiny: Callable[..., Any], name: str
) -> None:
    batch, adapted = batch_of(LENGTHS), adapt(load_tiny(name), "ptuning_v2")
    given_BTD = adapted._hidden(batch).detach()
    parts = adapted.adapter.prefix.embedding.detach().chunk(
        4, dim=1
    )  # K, V of the first layer, then
    bare = load_tiny(name).model
    first = {"bert": 0, "roberta": 1 + bare.config.pad_token_id}[name] + TOKENS
    for row, length in enumerate(LENGTHS):
        with torch.no_grad():
            h_TD = bare.embeddings(
                input_ids=batch.input_ids_BT[row : row + 1, :length],
                token_type_ids=types_of(name, length),
                position_ids=torch.arange(first, first + length)[None],
            )[0]
            for layer, block in enumerate(bare.encoder.layer):
                h_TD = attended(block, h_TD, *parts[2 * layer : 2 * layer + 2], 4)
        torch.testing.assert_close(given_BTD[row, :length], h_TD, rtol=0, atol=2e-5)
