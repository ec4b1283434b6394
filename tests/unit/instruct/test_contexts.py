"""Contexts: what is cut, what is refused, and where the boundary is."""

import pytest

from pedro_bench.errors import ConfigError, DataError
from pedro_bench.instruct.contexts import Contexts, context_length
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
