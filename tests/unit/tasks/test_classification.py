import pytest

from pedro_bench.errors import ConfigError


def test_label_words_in_the_order_of_the_labels(make_task):
    assert make_task("sst2").label_words == ("negative", "positive")


def test_spellings_are_case_folded(make_task):
    task = make_task("boolq", labels={"TRUE": "yes", "False": "no"})
    assert task.example({"passage": "p", "question": "q", "label": True}).answer == "yes"


@pytest.mark.parametrize("labels", [{}, {"0": "no"}, {"0": "no", "1": "no"}, "yes"])
def test_there_must_be_two_label_words(make_task, labels):
    with pytest.raises(
        ConfigError, match=r"task.labels must lead to at least two label words, got"
    ):
        make_task("sst2", labels=labels)


def test_a_label_word_must_be_a_text(make_task):
    with pytest.raises(ConfigError, match=r"task.labels must be a text, not empty, got False"):
        make_task("sst2", labels={"0": False, "1": "yes"})


def test_the_prompt_is_checked_on_construction(make_task):
    with pytest.raises(ConfigError, match=r"task.prompt must be a text that does not end in white"):
        make_task("sst2", prompt="Review: {sentence}: ")
    with pytest.raises(ConfigError, match=r"task.shrinkable must .*got 'text'"):
        make_task("sst2", shrinkable="text")
