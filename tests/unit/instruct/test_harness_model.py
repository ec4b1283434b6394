"""The harness's model: its numbers are the package's own, with the prompt's boundary where it is."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")

import torch

from pedro_bench.errors import ConfigError, ContextError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.harness_model import AdaptedLM, score_continuations
from pedro_bench.protocols.batch import Encoded
from pedro_bench.runs.saved_run import SavedRun

PAIRS = [
    ("the cat sat on the mat", " yes"),
    ("where is Ana", " Ana lives in Oslo"),
    ("who likes the red box", " Ben"),
    ("who likes the red box", " Ana"),
    ("who likes the red box", " not Ana"),
    ("a dog", " was bad"),
]


def ask(arguments: Any) -> list[Any]:
    return [SimpleNamespace(args=one) for one in arguments]


def make_lm(adapted: Any, max_length: int = 256, **options: Any) -> AdaptedLM:
    options.setdefault("batch_size", 4)
    return AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, max_length), **options)


def ids_of(adapted: Any, text: str) -> tuple[int, ...]:
    return tuple(adapted.backbone.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_loglikelihood_is_the_packages_own(make_adapted: Any, family: str) -> None:
    adapted = make_adapted(family=family)
    pairs = [
        Encoded((1, *ids_of(adapted, context)), ids_of(adapted, answer), row)
        for row, (context, answer) in enumerate(PAIRS)
    ]
    expected = loglikelihood(adapted, pairs, batch_size=1)
    assert len({round(score, 3) for score in expected}) == len(PAIRS)
    found = make_lm(adapted).loglikelihood(ask(PAIRS))
    assert [score for score, _ in found] == pytest.approx(expected, abs=1e-4)


def test_loglikelihood_with_the_end_is_that_of_a_loaded_run(make_adapted: Any) -> None:
    """A loaded run scores an answer together with the end-of-sequence token."""
    adapted = make_adapted()
    config = {"trainer": {"max_length": 64}, "task": {}}
    pairs = [(context, answer.strip()) for context, answer in PAIRS]
    expected = SavedRun(adapted, config).loglikelihood(pairs)
    eos = adapted.backbone.tokenizer.eos_token_id
    found = Contexts(adapted.backbone.tokenizer, 256).pairs(PAIRS)
    ended = [(context, (*answer, eos)) for context, answer in found]
    scores = score_continuations(adapted, ended, batch_size=4)
    assert [score for score, _ in scores] == pytest.approx(expected, abs=1e-4)


def test_the_written_end_of_sequence_is_text(make_adapted: Any) -> None:
    adapted = make_adapted()
    scores = make_lm(adapted).loglikelihood(
        ask([("a dog", " was bad"), ("a dog", " was bad </s>")])
    )
    assert scores[1][0] < scores[0][0]
    (_, (_, after)) = Contexts(adapted.backbone.tokenizer, 256).pairs(
        [("a dog", " was"), ("a dog </s>", " was bad </s>")]
    )
    assert adapted.backbone.tokenizer.eos_token_id not in after


def test_the_vectors_come_from_the_context_alone(make_adapted: Any) -> None:
    """Another boundary in the same text gives other numbers, unless the method reads no prompt."""
    for name, same in (("pedro", False), ("lora", True)):
        adapted = make_adapted(name)
        lm = make_lm(adapted)
        whole = lm.loglikelihood(ask([("the", " cat sat on the mat")]))[0][0]
        first = lm.loglikelihood(ask([("the", " cat sat on")]))[0][0]
        rest = lm.loglikelihood(ask([("the cat sat on", " the mat")]))[0][0]
        assert (first + rest == pytest.approx(whole, abs=1e-4)) is same, name


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_neighbours_change_nothing(make_adapted: Any, batch_size: int) -> None:
    adapted = make_adapted()
    alone = [make_lm(adapted).loglikelihood(ask([pair]))[0] for pair in PAIRS]
    lm = make_lm(adapted, batch_size=batch_size)
    for pairs, expected in ((PAIRS, alone), (PAIRS[::-1], alone[::-1])):
        found = lm.loglikelihood(ask(pairs))
        assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-4)
        assert [one[1] for one in found] == [one[1] for one in expected]


def test_choices_of_one_context_share_a_pass(make_adapted: Any) -> None:
    adapted = make_adapted()
    seen: list[tuple[int, int]] = []
    lm = make_lm(adapted, progress=lambda done, total: seen.append((done, total)))
    lm.loglikelihood(ask([("who likes the cat", f" {word}") for word in ("Ana", "Ben", "dog")]))
    assert seen == [(1, 1)]


def test_greedy_is_what_greedy_decoding_says(make_adapted: Any) -> None:
    adapted = make_adapted(seed=3)
    lm = make_lm(adapted)
    context = "who likes the red box"
    said = lm.generate_until(ask([(context, {"max_gen_toks": 3, "until": []})]))[0]
    found = lm.loglikelihood(ask([(context, f" {said}"), (context, " yes yes yes")]))
    assert [greedy for _, greedy in found] == [True, False]


def test_no_answer_of_one_model_reaches_another(make_adapted: Any) -> None:
    scores = [
        make_lm(make_adapted(seed=seed)).loglikelihood(ask(PAIRS))[0][0] for seed in (0, 1, 0)
    ]
    assert scores[0] == scores[2] != scores[1]


def test_generated_text_is_the_packages_own_up_to_a_stop(make_adapted: Any) -> None:
    adapted = make_adapted(seed=5)
    contexts = [context for context, _ in PAIRS[:3]]
    prompts = [Encoded((1, *ids_of(adapted, one)), (), row) for row, one in enumerate(contexts)]
    whole = generate(adapted, prompts, num_beams=1, max_new_tokens=8, batch_size=1)
    stops = [text.split()[2] for text in whole]
    for text, stop in zip(whole, stops, strict=True):
        assert stop in text
    lm = make_lm(adapted)
    requests = [
        (context, {"max_gen_toks": 8, "until": [stop], "do_sample": False, "temperature": 0.0})
        for context, stop in zip(contexts, stops, strict=True)
    ]
    expected = [text.partition(stop)[0] for text, stop in zip(whole, stops, strict=True)]
    assert lm.generate_until(ask(requests)) == expected
    together = [(context, {"max_gen_toks": 8, "until": stops}) for context in contexts]
    earliest = [min((text.partition(stop)[0] for stop in stops), key=len) for text in whole]
    assert lm.generate_until(ask(together)) == earliest


def test_a_long_context_keeps_its_end_and_its_first_token(make_adapted: Any) -> None:
    adapted = make_adapted()
    words = ("the cat sat on a mat and " * 4).split()
    contexts = Contexts(adapted.backbone.tokenizer, 12)
    lm = AdaptedLM(adapted, contexts, batch_size=2)
    found = lm.loglikelihood(ask([(" ".join(words), " yes no")]))[0][0]
    kept = Encoded((1, *ids_of(adapted, " ".join(words[-9:]))), ids_of(adapted, "yes no"), 0)
    assert found == pytest.approx(loglikelihood(adapted, [kept], batch_size=1)[0], abs=1e-4)
    assert contexts.shortened == 1
    lm.generate_until(ask([("the cat", {"max_gen_toks": 4, "until": ["."]})]))
    assert contexts.shortened == 1


def test_white_space_at_the_end_of_a_context_belongs_to_what_follows(make_adapted: Any) -> None:
    lm = make_lm(make_adapted())
    found = lm.loglikelihood(ask([("the cat \n", "yes"), ("the cat", " yes"), ("", "yes")]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[2][0] != pytest.approx(found[1][0], abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [{"do_sample": True}, {"temperature": 0.7}, {"top_p": 0.9, "until": ["."]}],
)
def test_what_is_not_greedy_is_refused(make_adapted: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must generate without sampling .*, got \{'"):
        make_lm(make_adapted()).generate_until(ask([("the cat", settings)]))


def test_a_text_without_a_prompt_is_refused(make_adapted: Any) -> None:
    with pytest.raises(ContextError, match=r"must give a context and a continuation"):
        make_lm(make_adapted()).loglikelihood_rolling(ask([("the cat",)]))


def test_training_mode_is_restored(make_adapted: Any) -> None:
    adapted = make_adapted()
    adapted.train()
    make_lm(adapted).loglikelihood(ask(PAIRS))
    assert adapted.training
    assert torch.is_grad_enabled()
