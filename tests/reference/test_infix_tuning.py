"""Infix tuning against the bare backbone reading [prompt, infix, answer] as embeddings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from tests.tiny import build_method, pad_left, rows_of

TOKENS = 3
LENGTHS = ((6, 3), (4, 2), (9, 1), (1, 4))


def adapt(backbone: Any) -> AdaptedModel:
    adapted = AdaptedModel(backbone, build_method("infix_tuning", num_virtual_tokens=TOKENS))
    with torch.no_grad():
        adapted.adapter.prompt.embedding.normal_(generator=torch.Generator().manual_seed(3))
    return adapted.eval()


def reference_logits(backbone: Any, infix_PD: Tensor, ids: list[int], prompt: int) -> Tensor:
    """Logits that predict the answer of one example; no padding, no context, no hook of ours."""
    embedded_TD = backbone.model.get_input_embeddings()(torch.tensor(ids)).detach()
    whole = torch.cat([embedded_TD[:prompt], infix_PD, embedded_TD[prompt:]])
    logits = backbone.model(inputs_embeds=whole[None], use_cache=False).logits[0]
    return logits[prompt + TOKENS - 1 : -1]


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_and_gradients_equal_the_sequence(
    family: str,
    side: str,
    attention: str,
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    batch = make_batch(LENGTHS)
    adapted = adapt(load_tiny(family, attn_implementation=attention))
    infix = adapted.adapter.prompt.embedding
    given = adapted.answer_logits(batch if side == "right" else pad_left(batch))[0]
    bare, leaf = load_tiny(family), infix.detach().clone().requires_grad_()
    expected = torch.cat([reference_logits(bare, leaf, *row) for row in rows_of(batch)])
    torch.testing.assert_close(given, expected, rtol=0, atol=2e-5)
    upstream = torch.randn(given.shape, generator=torch.Generator().manual_seed(4))
    (given * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(infix.grad, leaf.grad, rtol=1e-4, atol=1e-4)


def test_the_prompt_does_not_see_the_infix(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Only the last prompt token's place differs from the bare backbone, before the answer."""
    backbone = load_tiny()
    batch = make_batch(((6, 2), (6, 2)))
    with torch.no_grad():
        expected = backbone.decoder(input_ids=batch.input_ids_BT).last_hidden_state
        adapted = adapt(backbone)
        with adapted.context(batch.prompt_mask_BT).active():
            given = backbone.decoder(input_ids=batch.input_ids_BT).last_hidden_state
    torch.testing.assert_close(given[:, :5], expected[:, :5], rtol=0, atol=1e-5)
    assert ((given[:, 5:] - expected[:, 5:]).abs().amax(2) > 1e-2).all()


@pytest.mark.parametrize("num_beams", [1, 3])
def test_decoding_in_batches_equals_greedy_search_on_whole_sequences(
    num_beams: int, load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Beams read the last prompt token twice; one prompt has that token alone."""
    backbone = load_tiny()
    adapted = adapt(backbone)
    prompts = [
        Encoded(tuple(ids[:prompt]), (), index)
        for index, (ids, prompt) in enumerate(rows_of(make_batch(LENGTHS)))
    ]
    options = {"num_beams": num_beams, "max_new_tokens": 5}
    together = generate(adapted, prompts, batch_size=4, **options)
    alone = [generate(adapted, [prompt], batch_size=1, **options)[0] for prompt in prompts]
    assert together == alone
    if num_beams == 1:
        bare, infix = load_tiny(), adapted.adapter.prompt.embedding.detach()
        assert together == [greedy(bare, infix, list(prompt.prompt_ids)) for prompt in prompts]


def greedy(backbone: Any, infix: Tensor, prompt: list[int]) -> str:
    made: list[int] = []
    while len(made) < 5 and 2 not in made:
        with torch.no_grad():
            # A token of no importance stands in for the answer token that is to be predicted.
            logits = reference_logits(backbone, infix, [*prompt, *made, 0], len(prompt))
        made.append(int(logits[-1].argmax()))
    return str(backbone.tokenizer.decode(made, skip_special_tokens=True))


def test_the_likelihood_is_of_the_whole_sequence(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    adapted = adapt(load_tiny())
    rows = rows_of(make_batch(LENGTHS))
    pairs = [Encoded(tuple(i[:n]), tuple(i[n:]), at) for at, (i, n) in enumerate(rows)]
    bare, infix = load_tiny(), adapted.adapter.prompt.embedding.detach()
    given = loglikelihood(adapted, pairs, batch_size=3)
    with torch.no_grad():
        for score, (ids, prompt) in zip(given, rows, strict=True):
            logits = reference_logits(bare, infix, ids, prompt).log_softmax(-1)
            answer = torch.tensor(ids[prompt:])
            assert score == pytest.approx(float(logits.gather(1, answer[:, None]).sum()), abs=1e-4)
