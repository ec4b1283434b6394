"""Each example's own score, on the metrics of real tasks."""

import json
from pathlib import Path

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.splits import load_splits
from pedro_bench.evaluation.prediction import Prediction
from pedro_bench.runs.phases import example_scores, prediction_lines

CASES = Path(__file__).parents[2] / "data" / "tasks"


@pytest.fixture
def make_examples():
    """A function that returns a task and the examples of its contract's rows."""

    def make(name, *overrides):
        task = settings_of([f"task={name}", *overrides]).task
        case = json.loads((CASES / f"{name}.json").read_text())
        return task, [task.example(row) for row in (case["row"], *case.get("more", []))]

    return make


@pytest.mark.parametrize("name", ["sst2", "squad", "record", "alpaca"])
def test_the_mean_of_the_examples_scores_is_the_metric(name):
    settings = settings_of([f"task={name}"])
    examples = load_splits(settings.task, settings.data)["dev"].examples[:30]
    answers = [one.answer if row % 3 else "of the" for row, one in enumerate(examples)]
    scores = settings.task.score(answers, examples)
    total = scores[settings.task.main_metric]
    shares = example_scores(settings.task, answers, examples, total)
    assert sum(shares) / len(shares) == pytest.approx(total)
    assert shares[1] == 100.0
    assert 0 < total < 100
    lines = prediction_lines(
        settings.task, Prediction(("t",) * 30, tuple(answers), scores), examples
    )
    first = json.loads(lines.splitlines()[1])
    assert first == {"index": 1, "prediction": answers[1], "text": "t", "score": 100.0}


@pytest.mark.parametrize(("name", "metric"), [("cola", "matthews"), ("stsb", "pearson")])
def test_a_constant_answer_has_no_shares_of_a_correlation(name, metric, make_examples):
    """Both are 0 then, and so is every example alone: their mean agrees by accident."""
    task, examples = make_examples(name)
    answers = [examples[0].answer] * len(examples)
    scores = task.score(answers, examples)
    assert (task.main_metric, scores[metric]) == (metric, 0.0)
    assert example_scores(task, answers, examples, 0.0) is None
    found = Prediction(tuple(answers), tuple(answers), scores)
    lines = prediction_lines(task, found, examples)
    assert all("score" not in json.loads(line) for line in lines.splitlines())


def test_a_classification_by_f1_has_no_shares(make_examples):
    task, examples = make_examples("mrpc", "task.metrics=[f1,acc]")
    wrong = ["neither"] * len(examples)
    assert example_scores(task, wrong, examples, 0.0) is None


def test_what_is_no_mean_although_the_task_says_so_has_no_shares():
    settings = settings_of(["task=sst2"])
    examples = load_splits(settings.task, settings.data)["dev"].examples[:4]
    answers = [one.answer for one in examples]
    assert example_scores(settings.task, answers, examples, 42.0) is None
    found = Prediction(("t",) * 4, tuple(answers), {"acc": 42.0})
    assert "score" not in json.loads(
        prediction_lines(settings.task, found, examples).splitlines()[0]
    )
