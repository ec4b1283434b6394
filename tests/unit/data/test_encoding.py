from array import array
from collections.abc import Callable
from typing import Any

import pytest

from pedro_bench.data.coder import EncodedRows, Packed
from pedro_bench.data.encoding import encode
from pedro_bench.errors import DataError
from pedro_bench.protocols.task import Example, Part

TEXTS = [
    "The cat sat on the mat, and the dog likes the red box.",
    "Question: who likes the red box?\nAnswer: the dog",
    "Rome is a city. Oslo is a city. Ana lives in Oslo.\nAnswer yes or no: yes no",
]


def make(kind: str, *, end: bool = False) -> Any:
    """Train a tokenizer of one kind on a few sentences, in the real file format."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>"]
    if kind == "bytes":  # GPT-2 and Llama 3
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "prefix_space":  # Llama 2, as converted from sentencepiece
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
        trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    else:  # the micro backbone
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if end else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


KINDS = ("bytes", "prefix_space", "words")


def example(passage: str = TEXTS[0], answer: str = "the dog", **options: Any) -> Example:
    parts = (Part(passage, can_shrink=True), Part("\nQuestion: who likes the red box?\nAnswer:"))
    return Example(parts, answer, (answer,), passage.casefold(), **options)


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


def test_prompt_and_answer_are_the_ids_of_the_whole_text(tokenizer: Any) -> None:
    shown = [example(), example(TEXTS[2], "yes"), example(TEXTS[2]), example("The mat", "yes")]
    encoding = encode(tokenizer, shown, max_length=400, with_answers=True)
    for row, (given, encoded) in enumerate(zip(shown, encoding.encoded, strict=True)):
        whole = tokenizer(f"{given.prompt} {given.answer}")["input_ids"]
        assert [*encoded.prompt_ids, *encoded.answer_ids] == [*whole, 2]
        assert encoded.prompt_ids == tuple(tokenizer(given.prompt)["input_ids"])
        assert encoded.prompt_ids[0] == 1
        assert encoded.index == row
    assert (encoding.truncated, encoding.lost_answers) == (0, 0)


def test_training_and_decoding_share_the_prompt(tokenizer: Any) -> None:
    shown = [example(), example(TEXTS[2], "yes")]
    with_answers = encode(tokenizer, shown, max_length=400, with_answers=True).encoded
    without = encode(tokenizer, shown, max_length=400, with_answers=False).encoded
    assert [row.prompt_ids for row in without] == [row.prompt_ids for row in with_answers]
    assert [row.answer_ids for row in without] == [(), ()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_that_ends_sequences_itself_gives_the_same_ids(kind: str) -> None:
    plain, ending = make(kind), make(kind, end=True)
    first = encode(plain, [example()], max_length=400, with_answers=True)
    assert first == encode(ending, [example()], max_length=400, with_answers=True)


def test_an_empty_answer_is_the_end_of_sequence_alone(tokenizer: Any) -> None:
    (row,) = encode(tokenizer, [example(answer="")], max_length=400, with_answers=True).encoded
    assert row.answer_ids == (2,)


def test_an_answer_that_would_change_the_prompt_is_tokenised_alone() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # no pre-tokenizer and a merge across the border, so "a b" is one token but "a" another
    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, " ": 3, "b": 4, " b": 5, "a b": 6}
    model = models.BPE(vocab=vocabulary, merges=[(" ", "b"), ("a", " b")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), bos_token="<s>", eos_token="</s>"
    )
    shown = Example((Part("a"),), "b", ("b",), "a")
    (row,) = encode(tokenizer, [shown], max_length=9, with_answers=True).encoded
    assert (row.prompt_ids, row.answer_ids) == ((2,), (5, 1))


@pytest.mark.parametrize("limit_share", [0.6, 0.8])
def test_only_the_long_text_is_cut_from_its_end(tokenizer: Any, limit_share: float) -> None:
    shown = [example(" ".join(TEXTS[:1] * 4)), example("The cat.")]
    whole = encode(tokenizer, shown, max_length=10_000, with_answers=True)
    limit = int(len(whole.encoded[0]) * limit_share)
    encoding = encode(tokenizer, shown, max_length=limit, with_answers=True)
    assert encoding.truncated == 1
    assert encoding.encoded[1] == whole.encoded[1]
    cut, full = encoding.encoded[0], whole.encoded[0]
    assert limit - 3 <= len(cut) <= limit
    assert cut.answer_ids == full.answer_ids
    question = tokenizer(shown[0].parts[1].text, add_special_tokens=False)["input_ids"]
    assert list(cut.prompt_ids[-len(question) + 1 :]) == question[1:]
    kept = len(cut.prompt_ids) - len(question) - 2
    assert cut.prompt_ids[:kept] == full.prompt_ids[:kept]


def test_room_for_decoding_counts_like_an_answer(tokenizer: Any) -> None:
    size = len(encode(tokenizer, [example()], max_length=400, with_answers=False).encoded[0])
    fits = encode(tokenizer, [example()], max_length=size + 5, with_answers=False, max_new_tokens=5)
    assert fits.truncated == 0
    cut = encode(tokenizer, [example()], max_length=size + 4, with_answers=False, max_new_tokens=5)
    assert cut.truncated == 1
    assert len(cut.encoded[0]) <= size - 1


@pytest.mark.parametrize(("extractive", "lost"), [(True, 1), (False, 0)])
def test_lost_answers_are_counted_for_extractive_examples(extractive: bool, lost: int) -> None:
    tokenizer = make("words")
    early = example("Ana likes the red box. Rome is a city. Oslo is a city.", "Ana")
    shown = [
        example("Rome is a city. Oslo is a city. Ana lives in Oslo.", "Ana", extractive=extractive),
        Example(early.parts, "Ana", ("Ana",), "early", extractive=extractive),
        example("Rome is a city. Oslo is a city. A dog likes a mat.", "Ana", extractive=extractive),
    ]
    encoding = encode(tokenizer, shown, max_length=22, with_answers=True)
    assert (encoding.truncated, encoding.lost_answers) == (3, lost)


def test_what_cannot_fit_is_refused_with_row_length_limit_and_remedy() -> None:
    shown = [example("The cat."), example()]
    message = (
        r"row 0 must fit into 8 tokens, got 17, of which 14 may not be cut .*"
        r"shorten the row, or raise trainer.max_length up to .*; the row begins 'The cat"
    )
    with pytest.raises(DataError, match=message):
        encode(make("words"), shown, max_length=8, with_answers=True)


def test_a_prompt_without_long_text_is_never_cut() -> None:
    shown = Example((Part("The cat sat on the mat :"),), "yes", ("yes",), "x")
    with pytest.raises(DataError, match=r"row 0 must fit into 7 tokens, got 10, of which 10 may"):
        encode(make("words"), [shown], max_length=7, with_answers=True)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = make("words")
    tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"the tokenizer must have an end-of-sequence token"):
        encode(tokenizer, [example()], max_length=9, with_answers=True)


def test_no_examples() -> None:
    assert encode(make("words"), [], max_length=9, with_answers=True).encoded == ()


def test_micro_tasks_fit_their_backbone(make_task: Callable[..., Any]) -> None:
    from pedro_bench.data.micro_source import MicroSource
    from pedro_bench.data.splits import load_splits

    splits = load_splits(make_task("copa"), MicroSource(name="micro"))
    encoding = encode(make("bytes"), splits.dev.examples, max_length=512, with_answers=True)
    assert (encoding.truncated, encoding.lost_answers) == (0, 0)
    assert len(encoding.encoded) == splits.dev.rows


def test_an_open_ended_answer_is_cut_at_its_end_before_its_prompt_is(tokenizer: Any) -> None:
    long, short = example("The cat", TEXTS[0], open_ended=True), example("The cat", open_ended=True)
    whole, other = encode(tokenizer, [long, short], max_length=400, with_answers=True).encoded
    limit = len(whole.prompt_ids) + max(len(other.answer_ids), len(whole.answer_ids) - 2)
    found = encode(tokenizer, [long, short], max_length=limit, with_answers=True)
    kept = limit - len(whole.prompt_ids)
    assert found.encoded[0].prompt_ids == whole.prompt_ids
    assert found.encoded[0].answer_ids == whole.answer_ids[:kept]
    assert found.encoded[1] == other
    assert (found.cut_answers, found.truncated) == (1, 0)


def test_where_both_are_long_a_quarter_is_left_to_the_open_ended_answer(tokenizer: Any) -> None:
    given = [example(" ".join(TEXTS * 9), " ".join(TEXTS * 9), open_ended=True)]
    limit = 2 * len(tokenizer(given[0].parts[1].text)["input_ids"])
    found = encode(tokenizer, given, max_length=limit, with_answers=True)
    (row,) = found.encoded
    assert len(row.answer_ids) == limit // 4
    assert len(row.prompt_ids) <= limit - limit // 4
    assert (found.cut_answers, found.truncated) == (1, 1)
    assert encode(tokenizer, given, max_length=limit, with_answers=False).cut_answers == 0


def test_ids_take_two_bytes_where_the_vocabulary_allows(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = encode(tokenizer, [example()], max_length=99, with_answers=True).encoded
    monkeypatch.setattr(type(tokenizer), "__len__", lambda _: 2**16 + 1)
    large = encode(tokenizer, [example()], max_length=99, with_answers=True).encoded
    assert isinstance(small, EncodedRows)
    assert isinstance(large, EncodedRows)
    assert (small.prompts.ids.itemsize, large.prompts.ids.itemsize) == (2, 4)
    assert list(small) == list(large)


@pytest.mark.parametrize("typecode", ["H", "i"])
def test_packed_lists_are_what_they_were(typecode: str) -> None:
    rows = [array(typecode, ids) for ids in ([1, 2, 65535], [], [7])]
    packed = Packed.of(rows)
    assert [packed[row] for row in range(3)] == [(1, 2, 65535), (), (7,)]
    assert [len(row) for row in rows] == [0, 0, 0]
    assert packed.ids.typecode == typecode
