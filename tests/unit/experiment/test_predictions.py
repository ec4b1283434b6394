"""Each example's own score, on the metrics of real tasks."""

import json

import pytest

from pedro_bench.cli.compose import settings_of
from pedro_bench.data.splits import load_splits
from pedro_bench.evaluation.prediction import Prediction
from pedro_bench.experiment.predictions import example_scores, prediction_lines


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


def test_a_metric_that_is_no_mean_over_examples_has_no_shares():
    settings = settings_of(["task=sst2"])
    examples = load_splits(settings.task, settings.data)["dev"].examples[:4]
    answers = [one.answer for one in examples]
    assert example_scores(settings.task, answers, examples, 42.0) is None
    found = Prediction(("t",) * 4, tuple(answers), {"acc": 42.0})
    assert "score" not in json.loads(
        prediction_lines(settings.task, found, examples).splitlines()[0]
    )
