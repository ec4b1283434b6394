"""The cache of encodings: same result, never an old one, never a damaged one."""

import os
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pedro_bench.data import encoding_cache
from pedro_bench.data.encoding import encode
from pedro_bench.data.encoding_cache import Limits, encode_cached, key_of
from pedro_bench.protocols.task import Example, Part

LIMITS = Limits(10, with_answers=True)


def make(vocabulary="abcdefgh"):
    words = {"<unk>": 0, "</s>": 1, **{word: at for at, word in enumerate(vocabulary, start=2)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def example(text, answer="a", **options):
    parts = (Part(text, can_shrink=True), Part(" ? :"))
    return Example(parts, answer, (answer,), text, **options)


EXAMPLES = [
    example("a b c"),
    example(" ".join("abcdefgh" * 3), "h", extractive=True),
    example("", ""),
    example("a", " ".join("abcdefgh" * 2), open_ended=True),
]


@pytest.fixture
def counted(monkeypatch):
    calls = []

    def counting(*given, **options):
        calls.append(1)
        return encode(*given, **options)

    monkeypatch.setattr(encoding_cache, "encode", counting)
    return calls


def test_a_second_call_reads_the_same_encoding(tmp_path, counted):
    first = encode_cached(make(), EXAMPLES, LIMITS, tmp_path)
    assert (first.truncated, first.lost_answers, first.uncut) == (1, 1, {1: 26})
    assert first.cut_answers == 1
    second = encode_cached(make(), EXAMPLES, LIMITS, tmp_path)
    assert second == first == encode(make(), EXAMPLES, max_length=10, with_answers=True)
    assert len(counted) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_whatever_decides_the_encoding_changes_the_key():
    keys = {key_of(make(), EXAMPLES, LIMITS), key_of(make("abcdefgh"), EXAMPLES, LIMITS)}
    assert len(keys) == 1
    keys.add(key_of(make("hgfedcba"), EXAMPLES, LIMITS))
    for limits in (Limits(9, True), Limits(10, False), Limits(10, True, 3)):
        keys.add(key_of(make(), EXAMPLES, limits))
    first = EXAMPLES[0]
    for changed in (
        replace(first, answer="b"),
        replace(first, parts=(Part("a b c"), Part(" ? :"))),
        replace(first, parts=(Part("a b", can_shrink=True), Part(" c ? :"))),
        replace(first, extractive=True),
        replace(first, open_ended=True),
    ):
        keys.add(key_of(make(), [changed, *EXAMPLES[1:]], LIMITS))
    keys.add(key_of(make(), EXAMPLES[::-1], LIMITS))
    ending = make()
    ending.eos_token = "a"
    keys.add(key_of(ending, EXAMPLES, LIMITS))
    padded = make()
    padded.pad_token = "c"
    keys.add(key_of(padded, EXAMPLES, LIMITS))
    assert len(keys) == 1 + 1 + 3 + 5 + 1 + 1 + 1


def test_a_chat_template_that_makes_a_token_a_control_token_is_no_old_entry(tmp_path):
    found = []
    for template in ("{{ messages }}", "<turn>{{ messages }}"):
        tokenizer = make()
        tokenizer.add_tokens(["<turn>"])
        tokenizer.chat_template = template
        found.append(encode_cached(tokenizer, [example("a <turn> b")], LIMITS, tmp_path).misread)
    assert found == [0, 1]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "renamed"])
def test_a_damaged_entry_is_made_again(tmp_path, counted, damage):
    first = encode_cached(make(), EXAMPLES, LIMITS, tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    renamed = path.read_bytes().replace(b"cut_answers", b"cut_anrwers")  # a bit in the header's key
    changed = {"empty": b"", "cut": content[:-5], "flipped": content, "renamed": renamed}
    path.write_bytes(changed[damage])
    assert encode_cached(make(), EXAMPLES, LIMITS, tmp_path) == first
    assert encode_cached(make(), EXAMPLES, LIMITS, tmp_path) == first
    assert len(counted) == 2


def test_a_folder_that_cannot_be_written_only_means_no_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = encode_cached(make(), EXAMPLES, LIMITS, blocked / "cache")
    assert found == encode(make(), EXAMPLES, max_length=10, with_answers=True)


def test_what_a_killed_process_left_is_cleared_when_the_entry_is_made_again(tmp_path):
    child = os.fork()
    if not child:
        os.fsync = lambda file: os._exit(9)  # as killed, after the content and before the rename
        encode_cached(make(), EXAMPLES, LIMITS, tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    encode_cached(make(), EXAMPLES, LIMITS, tmp_path)
    (entry,) = tmp_path.iterdir()
    assert entry.suffix == ".safetensors"
