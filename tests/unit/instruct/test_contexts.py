"""Contexts: what is cut, what is refused, and where the boundary is."""

from typing import Any

import pytest
from tokenizers.pre_tokenizers import WhitespaceSplit

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.instruct.answers import answer_all
from pedro_bench.instruct.contexts import Contexts, context_length, prompt_of, template_of
from pedro_bench.instruct.questions import Question
from pedro_bench.instruct.record import Journal
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Part
from tests.tiny import make_tokenizer


def test_the_length_is_the_backbones_unless_asked():
    assert context_length(64, None) == 64
    assert context_length(64, 32) == 32
    with pytest.raises(ConfigError, match=r"at most the backbone's 64 positions, got 65"):
        context_length(64, 65)
    with pytest.raises(ConfigError, match=r"must be given for a backbone that states no"):
        context_length(None, None)
    assert context_length(None, 16) == 16


def test_a_tokenizer_that_joins_over_the_boundary_does_not_move_it():
    """`cat` + `s` is one unknown word together; the context's own ids stay."""
    contexts = Contexts(make_tokenizer(), 64)
    (before, after), (_, spaced) = contexts.pairs([("the cat", "s"), ("the cat", " dog")])
    assert before == contexts.encode(["the cat"])[0]
    tokenizer = make_tokenizer()
    assert after == tuple(tokenizer("s", add_special_tokens=False)["input_ids"])
    assert spaced == tuple(tokenizer("dog", add_special_tokens=False)["input_ids"])


def test_no_room_is_refused():
    contexts = Contexts(make_tokenizer(), 8)
    ids = contexts.encode(["the cat sat on the mat"])[0]
    assert contexts.fit(ids, 1) == ids
    assert contexts.fit(ids, 6) == (ids[0], ids[-1])
    with pytest.raises(DataError, match=r"must leave room for a context beside 7 tokens .* got 8"):
        contexts.fit(ids, 7)


def test_an_empty_continuation_is_refused():
    with pytest.raises(DataError, match=r"at least one token, got ''"):
        Contexts(make_tokenizer(), 8).pairs([("the cat", "")])


def test_contexts_and_continuations_hold_no_control_token():
    contexts = Contexts(make_tokenizer(), 64)
    ((before, after),) = contexts.pairs([("the </s> cat <s>", " dog</s>")])
    assert (before.count(1), before.count(2), after.count(1), after.count(2)) == (1, 0, 0, 0)
    own = (Part("</s>", is_template=True), Part(" the </s> cat"))
    assert contexts.encode([own])[0].count(2) == 1
    assert contexts.misread == 0


def test_control_tokens_that_cannot_be_text_are_counted():
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    contexts = Contexts(tokenizer, 64)
    contexts.encode(["the </s> cat", "the cat"])
    assert contexts.misread == 1


@pytest.mark.parametrize("text", ["bad \ud83d", "\ude00\ud83d"])
def test_a_context_with_a_lone_surrogate_is_refused(text):
    with pytest.raises(DataError, match=r"a context must be text that UTF-8 can encode"):
        Contexts(make_tokenizer(), 8).encode(["the cat", text])


QUESTIONS = [
    Question(81, "writing", ("the cat sat", "a dog sat")),
    Question(82, "writing", ("who likes the red box", "why")),
    Question(83, "writing", ("where is Ana", "where is Ben")),
]


def alpaca() -> Any:
    return template_of(settings_of(["task=alpaca"]).resolved_config["task"])


def text_of(parts: tuple[Part, ...]) -> str:
    return "".join(part.text for part in parts)


def test_prompts_are_the_runs_own() -> None:
    render = alpaca()
    first = text_of(prompt_of(render, QUESTIONS[0], []))
    assert first == "Instruction: the cat sat\nResponse:"
    second = text_of(prompt_of(render, QUESTIONS[0], ["yes"]))
    assert second == f"{first} yes\n\nInstruction: a dog sat\nResponse:"
    empty = text_of(prompt_of(render, QUESTIONS[0], [""]))
    assert empty == f"{first}\n\nInstruction: a dog sat\nResponse:"


def test_a_run_without_instructions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trained on instructions .*, got task=boolq"):
        template_of(settings_of(["task=boolq"]).resolved_config["task"])


def answers_of(
    adapted: Any, journal: Any, told: list[str] | None = None, **changes: Any
) -> dict[int, list[str]]:
    options = {"search": {"num_beams": 1}, "max_new_tokens": 6, "batch_size": 2, **changes}
    entries = answer_all(
        adapted,
        Contexts(adapted.backbone.tokenizer, 64),
        alpaca(),
        QUESTIONS,
        journal,
        report=(told if told is not None else []).append,
        **options,
    )
    return {number: [one["answer"] for one in found] for number, found in entries.items()}


@pytest.mark.parametrize("num_beams", [1, 3])
def test_answers_are_those_of_single_prompts(
    make_adapted: Any, tmp_path: Any, num_beams: int
) -> None:
    adapted, render = make_adapted(seed=7), alpaca()
    with Journal(tmp_path / "answers.jsonl") as journal:
        found = answers_of(adapted, journal, search={"num_beams": num_beams})
    tokenizer = adapted.backbone.tokenizer
    for question in QUESTIONS:
        said: list[str] = []
        for _ in range(2):
            text = text_of(prompt_of(render, question, said))
            ids = (1, *tokenizer(text, add_special_tokens=False)["input_ids"])
            options = {"num_beams": num_beams, "max_new_tokens": 6, "batch_size": 1}
            said.append(generate(adapted, [Encoded(ids, (), 0)], **options)[0].strip())
        assert found[question.question_id] == said
    assert len({tuple(said) for said in found.values()}) == 3


def test_an_interrupted_conversation_goes_on(make_adapted: Any, tmp_path: Any) -> None:
    adapted = make_adapted(seed=7)
    with Journal(tmp_path / "whole.jsonl") as journal:
        whole = answers_of(adapted, journal)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 6
    for kept in (1, 3, 4, 6):
        place = tmp_path / f"killed{kept}.jsonl"
        place.write_text("".join(lines[:kept]))
        told: list[str] = []
        with Journal(place) as journal:
            assert answers_of(adapted, journal, told) == whole
        assert len(place.read_text().splitlines()) == 6
        assert bool(told) is (kept < 6)


def test_a_conversation_that_is_too_long_loses_its_beginning(
    make_adapted: Any, tmp_path: Any
) -> None:
    adapted = make_adapted(seed=7)
    contexts = Contexts(adapted.backbone.tokenizer, 16)
    options = {"max_new_tokens": 4, "batch_size": 4, "report": [].append}
    options["search"] = {"num_beams": 1}
    with Journal(tmp_path / "answers.jsonl") as journal:
        found = answer_all(adapted, contexts, alpaca(), QUESTIONS, journal, **options)
    assert [entry["shortened"] for entry in found[81]] == [False, True]
    options["max_new_tokens"] = 16
    with (
        Journal(tmp_path / "other.jsonl") as journal,
        pytest.raises(DataError, match=r"max_length must leave room .* got 16: raise max_length"),
    ):
        answer_all(adapted, contexts, alpaca(), QUESTIONS, journal, **options)
