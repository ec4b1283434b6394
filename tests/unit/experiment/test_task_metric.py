"""The scoring of tasks through `evaluate`'s interface: as the official scripts score."""

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


def test_without_the_package_the_extra_is_named(metric, monkeypatch):
    monkeypatch.setattr("pedro_bench.cli.metric.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install pedro_bench\[metrics\]"):
        metric("squad")


def test_settings_of_the_task_can_be_changed(metric):
    task = metric("squad", "task.max_new_tokens=3")._task
    assert isinstance(task, ExtractiveQA)
    assert task.max_new_tokens == 3
