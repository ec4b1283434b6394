"""Ranking candidates: equal to comparing log-softmaxes by hand, normalised by length or not."""

from functools import partial

import pytest
import torch

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.encoding import continuation_ids, encode
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig, LikelihoodConfig
from pedro_bench.evaluation.prediction import predict
from pedro_bench.evaluation.ranking import rank
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.task import Example, Part


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


def by_hand(bare, example, *, normalised):
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
    scores = [by_hand(bare, one, normalised=normalised) for one in examples]
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
    plain = by_hand(bare, example, normalised=False)
    even = by_hand(bare, example, normalised=True)
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
