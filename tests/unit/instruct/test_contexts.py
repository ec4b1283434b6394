"""Contexts: what is cut, what is refused, and where the boundary is."""

from types import SimpleNamespace

import pytest
from tokenizers.pre_tokenizers import WhitespaceSplit

from pedro_bench.errors import ConfigError, DataError
from pedro_bench.instruct.contexts import Contexts, context_length
from pedro_bench.protocols.task import Part
from tests.tiny import make_tokenizer


def test_the_length_is_the_backbones_unless_asked():
    config = SimpleNamespace(max_position_embeddings=64)
    assert context_length(config, None) == 64
    assert context_length(config, 32) == 32
    with pytest.raises(ConfigError, match=r"at most the backbone's 64 positions, got 65"):
        context_length(config, 65)
    with pytest.raises(ConfigError, match=r"must be given for a backbone that states no"):
        context_length(SimpleNamespace(), None)
    assert context_length(SimpleNamespace(), 16) == 16


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
