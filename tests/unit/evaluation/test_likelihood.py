"""Log-likelihood: equal to a log-softmax by hand, whatever the neighbours."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.encoding import continuation_ids, encode
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig, LikelihoodConfig
from pedro_bench.evaluation.likelihood import loglikelihood, rank
from pedro_bench.evaluation.prediction import predict
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example, Part
from tests.unit.evaluation.bare import adapt

PAIRS = (
    Encoded((1, 5, 6, 7), (8, 2), 0),
    Encoded((1, 9), (10, 11, 12, 2), 1),
    Encoded((1, 13, 14, 15, 16, 17, 18), (19,), 2),
    Encoded((20,), (21, 22), 3),
)


def by_hand(backbone: Any, pair: Encoded) -> float:
    """Sum the log-softmax of the model's own logits, one token at a time, in double precision."""
    ids = list(pair.prompt_ids + pair.answer_ids)
    with torch.no_grad():
        logits = backbone.model(input_ids=torch.tensor([ids])).logits[0].double()
    total = 0.0
    for position in range(len(pair.prompt_ids), len(ids)):
        row = logits[position - 1].tolist()
        top = max(row)
        total += row[ids[position]] - top - math.log(sum(math.exp(x - top) for x in row))
    return total


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_equals_the_log_softmax_by_hand(
    load_tiny: Callable[..., Any], family: str, batch_size: int
) -> None:
    backbone = load_tiny(family)
    expected = [by_hand(backbone, pair) for pair in PAIRS]
    assert len({round(score, 2) for score in expected}) == len(PAIRS)
    scores = loglikelihood(adapt(backbone), PAIRS, batch_size=batch_size)
    assert scores == pytest.approx(expected, abs=1e-4)


def test_order_follows_the_pairs(tiny_backbone: Any) -> None:
    adapted = adapt(tiny_backbone)
    forward = loglikelihood(adapted, PAIRS, batch_size=2)
    backward = loglikelihood(adapted, PAIRS[::-1], batch_size=2)
    assert backward[::-1] == pytest.approx(forward, abs=1e-5)


def test_answers_of_one_prompt_are_a_distribution(tiny_backbone: Any) -> None:
    """Over all first tokens the probabilities sum to one."""
    vocabulary = tiny_backbone.shape.vocab_size
    pairs = [Encoded((1, 5, 6), (token,), token) for token in range(vocabulary)]
    scores = loglikelihood(adapt(tiny_backbone), pairs, batch_size=16)
    assert math.fsum(math.exp(score) for score in scores) == pytest.approx(1.0, abs=1e-5)


def test_a_pair_without_an_answer_is_refused(tiny_backbone: Any) -> None:
    pairs = [PAIRS[0], Encoded((1, 5), (), 1)]
    with pytest.raises(
        DataError, match=r"must have an answer to be scored, got none at position 1"
    ):
        loglikelihood(adapt(tiny_backbone), pairs, batch_size=2)


def test_no_pairs_give_no_scores(tiny_backbone: Any) -> None:
    assert loglikelihood(adapt(tiny_backbone), [], batch_size=2) == []


def test_no_gradients_and_training_mode_restored(tiny_backbone: Any) -> None:
    adapted = adapt(tiny_backbone)
    adapted.train()
    modes = [module.training for module in adapted.modules()]
    loglikelihood(adapted, PAIRS, batch_size=2)
    assert [module.training for module in adapted.modules()] == modes
    assert torch.is_grad_enabled()


@pytest.fixture(scope="module")
def model():
    settings = settings_of(["method=lora"])
    return AdaptedModel(settings.backbone.load(device="cpu"), settings.method)


@pytest.fixture(scope="module")
def bare():
    """The same network with nothing attached; an untrained LoRA equals it."""
    return settings_of([]).backbone.load(device="cpu")


@pytest.fixture(scope="module")
def copa(model):
    settings = settings_of(["task=copa"])
    examples = load_splits(settings.task, settings.data).test.examples[:12]
    tokenizer = model.backbone.tokenizer
    prompts = encode(tokenizer, examples, max_length=256, with_answers=False).encoded
    return settings.task, examples, prompts


def continued(model):
    return partial(continuation_ids, model.backbone.tokenizer)


def ranked_by_hand(bare, example, *, normalised):
    """Score each candidate with the bare network, one sequence at a time."""
    tokenizer, scores = bare.tokenizer, []
    prompt = tokenizer(example.prompt)["input_ids"]
    for candidate in example.candidates:
        ids = [*tokenizer(f"{example.prompt} {candidate}")["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = bare.model(input_ids=torch.tensor([ids])).logits[0].double()
        chosen = [
            logits[at - 1].log_softmax(0)[ids[at]].item() for at in range(len(prompt), len(ids))
        ]
        scores.append(sum(chosen) / (len(chosen) if normalised else 1))
    return scores


@pytest.mark.parametrize("normalised", [False, True])
def test_the_likeliest_candidate_is_chosen(model, bare, copa, normalised):
    _, examples, prompts = copa
    scores = [ranked_by_hand(bare, one, normalised=normalised) for one in examples]
    expected = [
        one.candidates[values.index(max(values))]
        for one, values in zip(examples, scores, strict=True)
    ]
    assert (
        len({one.candidates.index(word) for one, word in zip(examples, expected, strict=True)}) > 1
    )
    options = {"length_normalised": normalised}
    for batch_size in (1, 64):
        assert (
            rank(model, examples, prompts, continued(model), batch_size=batch_size, **options)
            == expected
        )


def test_length_normalisation_favours_long_candidates(model, bare):
    words = ("yes", " ".join(["yes"] * 9))
    example = Example((Part("Answer:"),), "", ("yes",), "x", candidates=words)
    prompts = encode(model.backbone.tokenizer, [example], max_length=64, with_answers=False).encoded
    plain = ranked_by_hand(bare, example, normalised=False)
    even = ranked_by_hand(bare, example, normalised=True)
    assert plain[0] > plain[1]
    for values, normalised in ((plain, False), (even, True)):
        found = rank(
            model, [example], prompts, continued(model), length_normalised=normalised, batch_size=4
        )
        assert found == [words[values.index(max(values))]]


def test_candidates_are_encoded_like_answers(model, copa):
    _, examples, _ = copa
    tokenizer = model.backbone.tokenizer
    whole = encode(tokenizer, examples, max_length=256, with_answers=True).encoded
    alone = continuation_ids(tokenizer, [(one, one.answer) for one in examples])
    assert [list(row.answer_ids) for row in whole] == [list(ids) for ids in alone]


def test_an_example_without_candidates_is_refused(model):
    example = Example((Part("Answer:"),), "a", ("a",), "x")
    prompts = encode(model.backbone.tokenizer, [example], max_length=64, with_answers=False).encoded
    with pytest.raises(DataError, match=r"must have candidates to be ranked, got none: 'Answer:'"):
        rank(model, [example], prompts, continued(model), length_normalised=False, batch_size=4)


def test_both_records_generation_and_ranking_side_by_side(model, copa):
    task, examples, prompts = copa
    ranked = predict(
        model,
        task,
        examples,
        prompts,
        LikelihoodConfig(name="likelihood"),
        continued=continued(model),
    )
    written = predict(model, task, examples, prompts, EvaluationConfig(name="g", num_beams=1))
    both = predict(
        model,
        task,
        examples,
        prompts,
        BothConfig(name="both", num_beams=1),
        continued=continued(model),
    )
    assert both.answers == written.answers
    assert both.ranked == ranked.answers == ranked.texts
    assert both.scores == {
        **written.scores,
        **{f"likelihood_{name}": value for name, value in ranked.scores.items()},
    }
    assert ranked.scores["invalid"] == 0.0
    assert written.ranked is None


@pytest.mark.parametrize("option", ["likelihood", "both"])
def test_open_answers_cannot_be_ranked(option):
    assert settings_of([f"evaluation={option}", "task=record"]).evaluation.ranks
    for task in ("squad", "alpaca", "e2e"):
        message = f"evaluation must be generation for task '{task}', got '{option}'"
        with pytest.raises(ConfigError, match=message):
            settings_of([f"evaluation={option}", f"task={task}"])


@pytest.mark.parametrize("kind", [LikelihoodConfig, BothConfig])
def test_settings_check_themselves(kind):
    with pytest.raises(ConfigError, match=r"evaluation.length_normalised must be true or false"):
        kind(name="x", length_normalised="yes")
