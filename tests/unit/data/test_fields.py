import json

import numpy as np
import pandas as pd
import pytest

from pedro_bench.data.fields import (
    label_of,
    optional_text_of,
    plain_lists,
    read_printed,
    text_of,
    texts_of,
)
from pedro_bench.data.prompt import example_of
from pedro_bench.errors import ConfigError, DataError


def test_text_is_stripped_and_found_under_an_alias():
    assert text_of({"sentence1": " a b \n"}, "premise", {"premise": ["sentence1"]}) == "a b"


def test_absent_field_gets_the_near_match():
    with pytest.raises(
        DataError, match=r"'sentence' must be in every row.*Did you mean 'sentance'"
    ):
        text_of({"sentance": "x", "label": 1}, "sentence", {})


@pytest.mark.parametrize(
    ("value", "rule"),
    [(None, "must have a value, got null"), (3, "must be a text, got 3"), (" ", "not be empty")],
)
def test_wrong_text(value, rule):
    with pytest.raises(DataError, match=f"field 'sentence' .*{rule}"):
        text_of({"sentence": value}, "sentence", {})


@pytest.mark.parametrize(
    "value",
    [
        ["Rome", "Oslo", "Rome "],
        [{"text": "Rome", "answer_start": 3}, {"text": "Oslo"}],
        {"text": ["Rome", "Oslo"], "answer_start": [1, 2]},
        "['Rome', 'Oslo']",
        '["Rome", "Oslo"]',
        "{'text': ['Rome', 'Oslo'], 'answer_start': [1, 2]}",
    ],
)
def test_texts_in_all_official_shapes(value):
    assert texts_of({"answers": value}, "answers", {}) == ("Rome", "Oslo")


@pytest.mark.parametrize("value", ["Rome", 3, {"start": 1}, [1], "__import__('os')"])
def test_what_is_no_list_of_texts(value):
    with pytest.raises(DataError, match=r"field 'answers' must be a list of texts, got"):
        texts_of({"answers": value}, "answers", {})


@pytest.mark.parametrize("value", [[], [""], {"text": []}])
def test_no_text_at_all(value):
    with pytest.raises(DataError, match=r"field 'answers' must hold at least one text"):
        texts_of({"answers": value}, "answers", {})


def test_aliases_must_be_lists():
    with pytest.raises(ConfigError, match=r"task.aliases must map .* got \{'label': 'answer'\}"):
        plain_lists("task.aliases", {"label": "answer"})


LONE = ["bad \ud83d", "\ude00", "\ude00\ud83d"]


@pytest.mark.parametrize("text", LONE)
def test_lone_surrogates_are_refused_in_texts_lists_and_labels(text):
    message = r"field 'x' must be text that UTF-8 can encode, got the lone surrogate '\\ud"
    for value in (text, [text], {"text": ["a", text]}, json.dumps([text])):
        with pytest.raises(DataError, match=message):
            texts_of({"x": value}, "x", {})
    for read in (text_of, label_of):
        with pytest.raises(DataError, match=message):
            read({"x": text}, "x", {})
    with pytest.raises(DataError, match=r"field 'y' must be text that UTF-8 can encode"):
        text_of({"y": text}, "x", {"x": ["y"]})


@pytest.mark.parametrize("text", ["say \ufdd01\ufdd1 now", "\ufdd1", "a\ufdd0"])
def test_marks_of_control_tokens_are_refused(text):
    message = (
        "field 'x' must be text without U.FDD0 and U.FDD1, which stand for control tokens, got"
    )
    with pytest.raises(DataError, match=message):
        text_of({"x": text}, "x", {})
    with pytest.raises(DataError, match="must be text without U.FDD0"):
        example_of("requests[0]", text)


def test_whole_surrogate_pairs_are_characters():
    assert texts_of({"x": '["\\ud83d\\ude00"]'}, "x", {}) == ("\U0001f600",)
    assert text_of({"x": "\U0001f600"}, "x", {}) == "\U0001f600"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), ("1.0", "1"), (" 0.00 ", "0"), ("1.", "1"), (-1.0, "-1"), ("1.5", "1.5")],
)
def test_whole_numbers_with_decimals_are_labels(value, text):
    assert label_of({"label": value}, "label", {})[1] == text


@pytest.mark.parametrize("row", [{"a": "x"}, {"a": "x", "input": None}, {"a": "x", "text": "y"}])
def test_an_optional_text_may_be_absent(row):
    assert optional_text_of(row, "input", {}, ["a"]) == ""


@pytest.mark.parametrize("name", ["imput", "Input", "inputs", "context"])
def test_an_optional_text_under_a_name_that_nothing_reads_is_refused(name):
    row = {"a": "x", name: "y"}
    with pytest.raises(DataError, match=rf"field 'input' must be .* got a field '{name}' that the"):
        optional_text_of(row, "input", {}, ["a"])
    assert optional_text_of(row, "input", {"input": [name]}, ["a"]) == "y"
    assert optional_text_of(row, "input", {}, ["a", name]) == ""


TEXTS = [
    ["a", "b"],
    ["it's", 'the "big" one', "both ' and \"", "tab\tand\nline"],
    [f"answer number {number}" for number in range(30)],
    ["one"],
    ["[x]", "a, b", "...", "array(['z'])", "\\", "é 😀"],
]


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda texts: str(tuple(texts)),
        lambda texts: str(np.array(texts)),
        lambda texts: str(np.array(texts, dtype=object)),
        lambda texts: repr(np.array(texts, dtype=object)),
        lambda texts: str(list(np.array(texts))),
        lambda texts: str({"text": np.array(texts, dtype=object), "answer_start": np.arange(2)}),
        lambda texts: str({"text": texts, "answer_start": [0.0, float("nan"), -1]}),
        lambda texts: str(np.array([{"text": one, "answer_start": 3} for one in texts])),
        lambda texts: pd.Series([np.array(texts, dtype=object)]).to_json(orient="records")[1:-1],
    ],
)
def test_every_way_of_writing_gives_the_texts_back(write, texts):
    assert texts_of({"answers": write(texts)}, "answers", {}) == tuple(texts)


def test_a_csv_of_pandas_gives_the_texts_back(tmp_path):
    from pedro_bench.data.formats import read_rows

    path = tmp_path / "train.csv"
    column = [{"text": np.array(texts, dtype=object)} for texts in TEXTS]
    pd.DataFrame({"answers": column, "entities": [np.array(one) for one in TEXTS]}).to_csv(path)
    rows = read_rows(path)
    for field in ("answers", "entities"):
        assert [texts_of(row, field, {}) for row, _ in rows] == [tuple(one) for one in TEXTS]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (str(np.array([str(number) for number in range(2000)])), "values are left out at '...'"),
        (repr(np.array(["x"] * 2000, dtype=object)), "values are left out at '...'"),
        ("{'text': ['a' ... 'b']}", "values are left out at '...'"),
        ("['a', 'b' 'c']", "some items have a comma between them and some have none"),
        ("['a' 'b', 'c']", "some items have a comma between them and some have none"),
        ("['a''b']", ""),
        ("('a' 'b')", ""),
        ("'a' 'b'", ""),
        ("{'a', 'b'}", ""),
        ("['a' nan]", ""),
        ("['a', None]", ""),
        ("['a' 1]", ""),
        ("[1 2]", ""),
        ("nan", ""),
        ("a, b", ""),
        ("['a', 'b'", ""),
        ("['a' 'b'] 'c'", ""),
        ("array(['a'], dtype=object", ""),
        ("[b'a' b'b']", ""),
        ("[list(['a']) list(['b'])]", ""),
        ("open('x')", ""),
        ("{1: ['a']}", ""),
        ('"[""a"", ""b""]"', ""),
        ("['a\nb']", ""),
        (str(pd.Series(["a", "b"])), ""),
        ("[" * 5000, ""),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(written, reason):
    with pytest.raises(DataError, match=r"field 'answers' must be a list of texts, got ") as told:
        texts_of({"answers": written}, "answers", {})
    assert reason in str(told.value)
    assert str(told.value).endswith("or the file as JSON Lines or Parquet.")


@pytest.mark.parametrize("written", ["[]", "array([], dtype=object)", "{'text': array([])}", "()"])
def test_empty_lists_are_empty(written):
    with pytest.raises(DataError, match=r"field 'answers' must hold at least one text, got"):
        texts_of({"answers": written}, "answers", {})


def test_other_values_are_read_beside_the_texts():
    written = "{'a': [ 1  2], 'b': array([1.5, nan], dtype=float32), 'c': None, 'd': np.str_('x')}"
    assert read_printed(written)["a"] == [1.0, 2.0]
    assert read_printed(written)["d"] == "x"
