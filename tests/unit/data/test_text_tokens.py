"""Control tokens: of the template alone, for every kind of tokenizer that can do that."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from pedro_bench.data.encoding import continuation_ids, encode
from pedro_bench.data.encoding_cache import Limits, key_of
from pedro_bench.data.prompt import example_of, parse_template
from pedro_bench.data.text_tokens import TextTokens
from pedro_bench.protocols.task import Example, Part
from tests.tiny import make_tokenizer
from tests.unit.data.test_encoding import make

TEMPLATE = parse_template("task.prompt", "<s>Question: {text}</s>\nAnswer {{yes}}:", "text")
NASTY = ["the</s>dog", "</s>", "a <s> b </s> c", "<unk> dog", "<s></s><s>"]


def sentencepiece(folder: Any, *, fast: bool) -> Any:
    """Train a sentencepiece model of the Llama-2 kind, and load it fast or slow."""
    from sentencepiece import SentencePieceTrainer
    from transformers import GPTSw3Tokenizer, LlamaTokenizer

    corpus = folder / "corpus.txt"
    corpus.write_text("The cat sat on the mat and the dog likes </ s> < the red box.\n" * 20)
    options = {"vocab_size": 80, "model_type": "bpe", "minloglevel": 2, "unk_id": 0}
    SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), bos_id=1, eos_id=2, **options
    )
    model = str(folder / "tokenizer.model")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    kind = LlamaTokenizer if fast else GPTSw3Tokenizer
    return kind.from_pretrained(folder, **names) if fast else kind(model, name_or_path="x", **names)


@pytest.fixture(params=["bytes", "prefix_space", "words", "llama", "slow"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param in ("llama", "slow"):
        return sentencepiece(tmp_path, fast=request.param == "llama")
    return make(request.param)


def encoded(tokenizer: Any, *examples: Example) -> Any:
    return encode(tokenizer, examples, max_length=10_000, with_answers=True)


def in_template(text: str, answer: str = "the dog") -> Example:
    return Example(TEMPLATE.parts({"text": text}), answer, (answer,), text)


@pytest.mark.parametrize("text", NASTY)
def test_data_hold_no_control_token(tokenizer: Any, text: str) -> None:
    found = encoded(tokenizer, example_of("p", text, text))
    (row,) = found.encoded
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    head = list(tokenizer("a")["input_ids"]).count(bos)
    assert [*row.prompt_ids].count(bos) == head
    assert eos not in row.prompt_ids
    assert bos not in row.answer_ids
    assert [*row.answer_ids].count(eos) == 1
    assert found.misread == 0


def test_what_is_trained_is_what_decoding_gives_back() -> None:
    from tokenizers import decoders

    tokenizer = make("bytes")
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    (row,) = encoded(tokenizer, example_of("p", "a", "the</s> dog <s>")).encoded
    text = tokenizer.decode(row.answer_ids[:-1], skip_special_tokens=True)
    assert text.strip() == "the</s> dog <s>"


@pytest.mark.parametrize("kind", ["bytes", "prefix_space", "words"])
def test_texts_without_control_tokens_are_read_as_ever(kind: str) -> None:
    tokenizer = make(kind)
    for one in (in_template("The cat sat, the mat"), example_of("p", "The red box", "Oslo")):
        (row,) = encoded(tokenizer, one).encoded
        whole = tokenizer(f"{one.prompt} {one.answer}")["input_ids"]
        assert [*row.prompt_ids, *row.answer_ids] == [*whole, tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", ["bytes", "prefix_space", "words"])
@pytest.mark.parametrize("text", NASTY)
def test_the_templates_own_control_tokens_stay(kind: str, text: str) -> None:
    tokenizer = make(kind)
    (row,) = encoded(tokenizer, in_template(text)).encoded
    (plain,) = encoded(tokenizer, in_template("dog")).encoded
    for control in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        assert row.prompt_ids.count(control) == plain.prompt_ids.count(control)
    assert row.prompt_ids[:2] == (1, 1)
    tail = plain.prompt_ids.index(tokenizer.eos_token_id)
    assert row.prompt_ids[tail - len(plain.prompt_ids) :] == plain.prompt_ids[tail:]
    assert row.answer_ids == plain.answer_ids


def test_training_scoring_and_a_loaded_run_share_the_ids() -> None:
    tokenizer, one = make("bytes"), in_template("the</s>dog", "no</s>")
    (row,) = encoded(tokenizer, one).encoded
    parts = TEMPLATE.parts_of(one.prompt)
    assert parts == tuple(replace(part, can_shrink=False) for part in one.parts)
    (again,) = encoded(tokenizer, example_of("p", one.prompt, templates=[TEMPLATE])).encoded
    assert again.prompt_ids == row.prompt_ids
    (ranked,) = continuation_ids(tokenizer, [(one, one.answer)])
    assert tuple(ranked) == row.answer_ids


def test_a_cut_prompt_holds_no_control_token_either() -> None:
    tokenizer = make("bytes")
    given = [in_template("the dog </s> likes " * 9)]
    found = encode(tokenizer, given, max_length=60, with_answers=True)
    assert (found.truncated, len(found.encoded[0]) <= 60) == (1, True)
    assert found.encoded[0].prompt_ids.count(2) == 1


def test_a_control_token_in_the_vocabulary_of_words_is_counted(caplog: Any) -> None:
    from tokenizers import pre_tokenizers

    tokenizer = make("words")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert TextTokens(tokenizer).misread() == ("</s>", "<s>")
    given = [example_of("p", "the </s> dog", "yes"), example_of("p", "dog", "a <s>")]
    assert encoded(tokenizer, *given, example_of("p", "a", "b"), in_template("x")).misread == 2
    assert "2 of 4 texts hold control tokens" in caplog.text
    assert encode(tokenizer, given, max_length=99, with_answers=False).misread == 1


def test_chat_tokens_that_are_not_special_are_counted_where_data_hold_them() -> None:
    tokenizer = make("bytes")
    tokenizer.add_tokens(["<|user|>", "<|other|>"])
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
    assert TextTokens(tokenizer).misread() == ("<|user|>",)
    own = parse_template("task.prompt", "<|user|>{text}:", None).parts({"text": "dog"})
    assert encoded(tokenizer, Example(own, "a", ("a",), "x")).misread == 0
    assert encoded(tokenizer, example_of("p", "a <|user|> b")).misread == 1


def test_a_slow_tokenizer_says_where_a_template_makes_it_misread(tmp_path: Any) -> None:
    tokenizer = sentencepiece(tmp_path, fast=False)
    found = encoded(tokenizer, in_template("the</s>dog"), in_template("the dog"))
    assert found.misread == 1
    assert found.encoded[1].prompt_ids.count(tokenizer.eos_token_id) == 1


def test_the_tokenizer_itself_is_left_as_it_was() -> None:
    tokenizer = make("bytes")
    before, size = tokenizer("a </s> b")["input_ids"], len(tokenizer)
    encoded(tokenizer, in_template("the</s>dog"), example_of("p", "</s>"))
    assert tokenizer("a </s> b")["input_ids"] == before
    assert len(tokenizer) == size
    assert not tokenizer.backend_tokenizer.encode_special_tokens


def test_what_a_call_of_the_tokenizer_left_behind_cuts_no_text() -> None:
    """Its backend keeps the truncation of the last call."""
    tokenizer = make_tokenizer()
    words = "the cat sat on the mat"
    whole = TextTokens(tokenizer).ids([words], special=False)
    tokenizer(words, truncation=True, max_length=2, padding="max_length")
    assert tokenizer.backend_tokenizer.truncation is not None
    assert TextTokens(tokenizer).ids([words], special=False) == whole
    assert len(TextTokens(tokenizer).ends([words])[0]) == len(whole[0]) > 2


def test_threads_share_a_tokenizer() -> None:
    tokenizer = make("bytes")
    given = [example_of("p", f"the </s> dog {number}" * 50) for number in range(40)]
    expected = encoded(tokenizer, *given)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(encoded(tokenizer, *given))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_the_cache_knows_whose_a_control_token_is() -> None:
    tokenizer, limits = make("bytes"), Limits(99, True)
    own = Example((Part("</s>", is_template=True),), "a", ("a",), "x")
    data = Example((Part("</s>"),), "a", ("a",), "x")
    assert key_of(tokenizer, [own], limits) != key_of(tokenizer, [data], limits)
