import pytest

from pedro_bench.data.fields import plain_lists, text_of, texts_of
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
