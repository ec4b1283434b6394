"""The scoring of tasks through `evaluate`'s interface: as the official scripts score."""

import numpy as np
import pytest
from evaluate import Metric

import pedro_bench
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.tasks.extractive_qa import ExtractiveQA


@pytest.fixture
def metric(tmp_path, monkeypatch):
    def make(task, *overrides):
        return pedro_bench.metric(task, *overrides, cache_dir=str(tmp_path))

    return make


def test_squad_in_batches_equals_the_hand_count(metric):
    squad = metric("squad")
    assert isinstance(squad, Metric)
    squad.add_batch(predictions=["The Oslo.\nmore"], references=[["Oslo", "in Oslo"]])
    squad.add(prediction="red fox", reference=["red", "blue"])
    assert squad.compute() == pytest.approx({"f1_em": 66.6666667, "f1": 83.3333333, "em": 50.0})


def test_single_golds_and_label_words(metric):
    found = metric("boolq").compute(
        predictions=[" yes", "no", "perhaps", "yes"], references=["yes", "yes", "no", "yes"]
    )
    assert found == {"acc": 50.0, "invalid": 25.0}


def test_choices_of_every_row_come_with_compute(metric):
    given = {"predictions": ["red", "a cat"], "references": ["red", "a dog"]}
    assert metric("copa").compute(**given) == {"acc": 50.0}
    sets = [["red", "blue"], ["a dog", "a bird"]]
    assert metric("copa").compute(**given, candidates=sets) == {"acc": 50.0, "invalid": 50.0}
    with pytest.raises(DataError, match="one set for each of the 2 predictions, got 1"):
        metric("copa").compute(**given, candidates=sets[:1])


@pytest.mark.parametrize(
    ("task", "prediction", "gold"),
    [
        ("copa", "the man fell", "The man fell."),
        ("copa", "  The man  fell.\nSo he did.", "The man fell."),
        ("sst2", "Positive.", "positive"),
    ],
)
def test_case_and_punctuation_decide_as_little_as_in_a_run(task, prediction, gold, metric):
    """Without candidates too: a run reads its answers by those of its rows."""
    given = {"predictions": [prediction, "none"], "references": [gold, gold]}
    assert metric(task).compute(**given)["acc"] == 50.0


@pytest.mark.parametrize(
    ("task", "given", "as_scored"),
    [("rte", "Yes", "yes"), ("sst2", " positive.", "positive"), ("mnli", "NEUTRAL", "neutral")],
)
def test_references_are_read_as_label_words(task, given, as_scored, metric):
    assert metric(task).compute(predictions=[as_scored], references=[given])["acc"] == 100.0


@pytest.mark.parametrize(
    ("task", "reference", "rule"),
    [
        ("rte", "entailment", "one of yes, no"),
        ("boolq", "True", "one of no, yes"),
        ("sst2", "1", "one of negative, positive"),
        ("stsb", "5.5", r"a number from 0\.0 to 5\.0"),
        ("stsb", "alike", r"a number from 0\.0 to 5\.0"),
        ("stsb", "nan", r"a number from 0\.0 to 5\.0"),
    ],
)
def test_a_reference_that_no_answer_can_equal_is_refused(task, reference, rule, metric):
    """The data set's own label would count every prediction as wrong."""
    with pytest.raises(
        DataError,
        match=rf"^references\[1\] must be {rule}, got '{reference}': give .* task={task} ",
    ):
        metric(task).compute(
            predictions=["1", "1"],
            references=[metric(task)._task.answers[0], reference],
        )


def test_correlation_counts_what_is_off_the_scale(metric):
    found = metric("stsb").compute(predictions=["1.0", "2.0", "9.0"], references=["1", "2", "3"])
    assert found["invalid"] == pytest.approx(100 / 3)
    assert found["pearson"] < 0


def test_texts_of_one_meaning_are_references_of_one_row(metric):
    golds = [["the red fox runs", "a red fox runs"], ["the blue cat sleeps at home"]]
    found = metric("e2e").compute(
        predictions=["a red fox runs", "the blue cat sleeps at home"], references=golds
    )
    assert found["bleu"] == pytest.approx(100)
    assert found["rouge_l"] == pytest.approx(100)


def test_a_row_without_golds_is_refused(metric):
    with pytest.raises(DataError, match="at least one gold answer"):
        metric("squad").compute(predictions=["a"], references=[[]])


def test_an_unknown_task_has_its_near_match(metric):
    with pytest.raises(ConfigError, match="boolq"):
        metric("bolq")


def test_settings_of_the_task_can_be_changed(metric):
    task = metric("squad", "task.max_new_tokens=3")._task
    assert isinstance(task, ExtractiveQA)
    assert task.max_new_tokens == 3


def test_numbers_are_taken_where_the_answers_are_numbers(metric):
    given = {"predictions": ["1.0", "2.5", "0.0000001"], "references": ["1", "3.0", "2"]}
    expected = metric("stsb").compute(**given)
    found = metric("stsb").compute(
        predictions=[1, np.float64(2.5), 1e-7], references=[1.0, np.int64(3), [2]]
    )
    assert found == pytest.approx(expected)
    array = metric("stsb").compute(
        predictions=np.array([1, 2.5, 0]), references=np.array([1, 3, 2])
    )
    assert array["pearson"] == pytest.approx(expected["pearson"], abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, b"1", {"a": 1}])
def test_what_is_no_number_and_no_text_is_refused(value, metric):
    with pytest.raises(DataError, match=r"^predictions\[1\] must be a text or a number, or {'pred"):
        metric("stsb").compute(predictions=[1, value], references=[1, 2])
    with pytest.raises(
        DataError, match=r"^references\[0\] must have .*: a text or a number, a list"
    ):
        metric("stsb").compute(predictions=[1], references=[value])


@pytest.mark.parametrize("task", ["sst2", "boolq", "squad"])
def test_labels_as_numbers_are_refused_where_answers_are_words(task, metric):
    with pytest.raises(DataError, match=r"^predictions\[0\] must be a text, or .* got 1\.$"):
        metric(task).compute(predictions=[1, 0], references=["yes", "no"])
    first = "positive" if task == "sst2" else "yes"
    with pytest.raises(
        DataError, match=r"^references\[1\] must have .*: a text, a list .* got 0\.$"
    ):
        metric(task).compute(predictions=["yes", "no"], references=[first, 0])


def test_the_dictionaries_of_the_hubs_squad_metric(metric):
    golds = [["Oslo", "in Oslo"], ["red"]]
    plain = metric("squad").compute(predictions=["Oslo", "blue"], references=golds)
    answers = [{"text": one, "answer_start": [0] * len(one)} for one in golds]
    for form in (answers, golds):
        found = metric("squad").compute(
            predictions=[
                {"id": "1", "prediction_text": "Oslo"},
                {"id": "2", "prediction_text": "blue"},
            ],
            references=[{"id": str(i + 1), "answers": one} for i, one in enumerate(form)],
        )
        assert found == plain
    squad = metric("squad")
    squad.add(prediction={"prediction_text": "Oslo"}, reference={"answers": answers[0]})
    squad.add(prediction="blue", reference=("red",))
    assert squad.compute() == plain


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        ({"id": "1"}, ["a"], r"predictions\[0\] must be a text, or .* got {'id': '1'}"),
        ({"text": "a"}, ["a"], r"predictions\[0\] must be a text, or .* got {'text': 'a'}"),
        (["a"], ["a"], r"predictions\[0\] must be a text, or .* got \['a'\]"),
        ("a", {"id": "1"}, r"references\[0\] must have at least one gold answer.* got {'id': '1'}"),
        ("a", {"answers": {"text": []}}, r"references\[0\] must have at least one gold answer"),
        ("a", {"answers": {"texts": ["a"]}}, r"references\[0\] must have at least one gold answer"),
        ("a", [], r"references\[0\] must have at least one gold answer.* got \[\]"),
        ("a", ["a", None], r"references\[0\] must have .* got \['a', None\]"),
        (
            {"id": "1", "prediction_text": "a"},
            {"id": "2", "answers": {"text": ["a"]}},
            r"predictions\[0\] and references\[0\] must have one id, got '1' and '2': put both",
        ),
    ],
)
def test_other_forms_are_one_sentence(prediction, reference, message, metric):
    with pytest.raises(DataError, match=message) as caught:
        metric("squad").compute(predictions=[prediction], references=[reference])
    assert "\n" not in str(caught.value)


def test_lists_that_are_none_or_of_different_lengths_are_refused(metric):
    squad = metric("squad")
    with pytest.raises(
        ConfigError, match="predictions must be a list of texts, got 'Oslo': put it"
    ):
        squad.compute(predictions="Oslo", references=["Oslo"])
    with pytest.raises(ConfigError, match="references must be a list of texts, or .* got None"):
        squad.compute(predictions=["Oslo"])
    with pytest.raises(DataError, match="must be as many, got 2 and 1"):
        squad.add_batch(predictions=["a", "b"], references=["a"])
    with pytest.raises(DataError, match="at least one example, got none"):
        squad.compute()
    with pytest.raises(DataError, match="at least one example"):
        squad.compute(predictions=[], references=[])
    with pytest.raises(ConfigError, match=r"candidates\[0\] must be a list of texts, got 'ab'"):
        metric("copa").compute(predictions=["a"], references=["a"], candidates=["ab"])


@pytest.mark.parametrize("task", [5, None, "", ["squad"]])
def test_a_task_or_setting_that_is_no_text_is_refused(task, metric):
    with pytest.raises(ConfigError, match="^task must be a text, not empty"):
        metric(task)
    with pytest.raises(ConfigError, match="^an override must be a text, not empty"):
        metric("squad", task)
