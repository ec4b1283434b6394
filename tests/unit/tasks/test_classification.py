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


@pytest.mark.parametrize("metrics", [[], ["matthews"], ["acc", "f1"]])
def test_f1_and_matthews_need_two_label_words(make_task, metrics):
    with pytest.raises(ConfigError, match=r"task.metrics must be acc, or for two .* 3 label words"):
        make_task("mnli", metrics=metrics)


def test_the_first_metric_is_the_main_one(make_task):
    assert make_task("cola").main_metric == "matthews"
    assert make_task("mrpc").main_metric == "acc"
    with pytest.raises(ConfigError, match=r"task.metrics must be one of .*Did you mean 'matthews'"):
        make_task("cola", metrics=["mathews"])


def test_an_answer_outside_the_label_words_counts_for_the_wrong_class(make_task):
    task = make_task("cola")
    examples = [task.example({"sentence": f"s{n}", "label": n % 2}) for n in range(4)]
    invalid = task.score(["no", "yes", "so", "so"], examples)
    assert invalid == task.score(["no", "yes", "yes", "no"], examples) | {"invalid": 50.0}
