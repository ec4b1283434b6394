import pytest

from pedro_bench.errors import ConfigError, DataError


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


@pytest.mark.parametrize("words", [("Yes", "yes"), ("good", "good!"), ("a b", "A  b.")])
def test_label_words_that_answers_cannot_tell_apart_are_refused(make_task, words):
    with pytest.raises(
        ConfigError, match=r"task.labels must lead to label words that differ in more"
    ):
        make_task("sst2", labels=dict(enumerate(words)))


@pytest.mark.parametrize("words", [("+", "-"), (":(", ":)")])
def test_label_words_of_punctuation_are_told_apart(make_task, words):
    task = make_task("sst2", labels=dict(enumerate(words)))
    examples = [task.example({"sentence": f"s{n}", "label": n}) for n in (0, 1, 0)]
    texts = (f" {words[0]}", f"{words[1]}\nx", "")
    answers = [task.extract(text, one) for text, one in zip(texts, examples, strict=True)]
    assert answers == [*words, ""]
    assert task.score(answers, examples)["acc"] == pytest.approx(200 / 3)
    assert task.score(answers, examples)["invalid"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"official_rows": (1,)}, r"task.official_rows must be two numbers, .* got \[1\]"),
        ({"official_rows": None}, "task.official_rows must be a list of two numbers, got None"),
        ({"official_rows": ("a", 1)}, "task.official_rows must be a whole number .* got 'a'"),
        ({"official_rows": (-1, 1)}, "task.official_rows must be a whole number .* got -1"),
        ({"columns": 3}, "task.columns must be a list of texts, got 3"),
        ({"columns": "ab"}, "task.columns must be a list of texts, got 'ab': put it into a list"),
        ({"metrics": "acc"}, "task.metrics must be a list of texts, got 'acc': put it into a list"),
    ],
)
def test_lists_are_checked_on_construction(make_task, setting, message):
    with pytest.raises(ConfigError, match=message):
        make_task("sst2", **setting)


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


@pytest.mark.parametrize("label", [1.0, "1.0", "1", True, "1."])
def test_labels_as_pandas_writes_them_are_read(make_task, label):
    row = {"passage": "p", "question": "q", "label": label}
    assert make_task("boolq").example(row).answer == "yes"


@pytest.mark.parametrize("label", [1.5, "0.99", "2.0", "np.int64(1)", "[1]"])
def test_other_numbers_are_no_labels(make_task, label):
    with pytest.raises(DataError, match=r"field 'label' must be one of .*got .*: correct the row"):
        make_task("sst2").example({"sentence": "s", "label": label})


@pytest.mark.parametrize("label", [-1, -1.0, "-1", "", float("nan"), "nan"])
def test_rows_without_a_label_are_named(make_task, label):
    with pytest.raises(DataError, match=r"got .*: rows without a label cannot be used"):
        make_task("sst2").example({"sentence": "s", "label": label})


def test_a_label_that_is_spelled_with_decimals_stays(make_task):
    task = make_task("sst2", labels={"1.0": "old", "2.0": "new", "1": "one"})
    words = [task.example({"sentence": "s", "label": one}).answer for one in ("1.0", "1", "2.0")]
    assert words == ["old", "one", "new"]
