"""Tasks put together: the harness's accuracy first, BBH's corrected one beside it."""

from types import SimpleNamespace

import pytest

from pedro_bench.errors import BackboneError
from pedro_bench.instruct import benchmarks
from pedro_bench.instruct.harness import TaskResult, stated_answer
from pedro_bench.instruct.job import find_run
from pedro_bench.instruct.leaderboard_job import LeaderboardJob
from pedro_bench.instruct.record import Journal
from pedro_bench.instruct.request import DEFAULTS, request_of
from tests.unit.analysis.runs import run

BBH = {
    "navigate": [
        ("So the answer is Yes.", "Yes"),
        ("So the answer is No", "N"),
        ("none", "[invalid]"),
    ],
    "snarks": [("So the answer is (A). ", "(A).")],
}
"""Task -> (response, what the harness's filter makes of it); the targets are Yes, No, Yes and (A)."""
TARGETS = {"navigate": ["Yes", "No", "Yes"], "snarks": ["(A)"]}


def bbh_task(lm, suite, task, rows):
    found = [
        {
            "index": number,
            "prediction": prediction,
            "corrected": stated_answer(said),
            "target": target,
            "correct": prediction == target,
            "corrected_correct": stated_answer(said) == target,
            "response": said,
        }
        for number, ((said, prediction), target) in enumerate(
            zip(BBH[task], TARGETS[task], strict=True)
        )
    ]
    return TaskResult(100 * sum(row["correct"] for row in found) / len(found), tuple(found))


def mmlu_task(lm, suite, task, rows):
    row = {"index": 0, "prediction": "A", "target": "B", "correct": False, "response": [0.0, -1.0]}
    return TaskResult(0.0, (row,))


def evaluated(folder, suite, rows):
    contexts = SimpleNamespace(shortened=0, misread=0, max_length=64)
    with Journal(folder / "tasks.jsonl") as journal:
        return benchmarks.evaluate_benchmark(
            None, contexts, suite, rows, journal, lambda line: None
        )


def test_bbh_has_both_readings_and_counts_where_they_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "evaluate_task", bbh_task)
    outcome = evaluated(tmp_path, "bbh", {key: {} for key in BBH})
    assert next(iter(outcome.metrics)) == "accuracy"
    assert outcome.metrics == {
        "accuracy": 25.0,
        "macro_accuracy": pytest.approx(100 / 6),
        "corrected_accuracy": 75.0,
        "corrected_macro_accuracy": pytest.approx((200 / 3 + 100) / 2),
    }
    assert outcome.parts["navigate"] == {
        "accuracy": pytest.approx(100 / 3),
        "rows": 3,
        "corrected_accuracy": pytest.approx(200 / 3),
        "differing_answers": 1,
    }
    assert outcome.parts["snarks"]["differing_answers"] == 1
    told = (
        "The harness's filter and the corrected reading differ on 2 of 4 answers: 2 are right only as "
        "corrected, 0 only by the filter."
    )
    assert told in outcome.notes
    assert [row["score"] for row in outcome.rows["predictions"]] == [100.0, 0.0, 0.0, 0.0]
    again = evaluated(tmp_path, "bbh", {key: {} for key in BBH})  # from the journal
    assert (again.metrics, again.parts) == (outcome.metrics, outcome.parts)


def test_mmlu_has_one_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "evaluate_task", mmlu_task)
    outcome = evaluated(tmp_path, "mmlu", {"anatomy": {}})
    assert set(outcome.metrics) == {"accuracy", "macro_accuracy"}
    assert outcome.parts == {"anatomy": {"accuracy": 0.0, "rows": 1}}
    assert outcome.notes == []


@pytest.mark.parametrize("suite", ["mmlu", "bbh", "arc"])
def test_an_encoders_run_is_refused_before_data_are_read(suite, tmp_path):
    """There are neither data nor weights here."""
    made = run(tmp_path, backbone="minilm", versions={"family.BERT": 1, "trainer": 1})
    values = {**DEFAULTS, "run": str(made), "suite": suite, "data.root": str(tmp_path / "none")}
    request = request_of(values)
    job = LeaderboardJob if suite == "arc" else benchmarks.BenchmarkJob
    with pytest.raises(BackboneError) as caught:
        job(request, find_run(request))
    assert str(caught.value) == (
        f"run must be of a decoder or an encoder-decoder for suite={suite}, where text is written, got "
        "the encoder 'minilm', which only labels texts: name a run on another backbone."
    )


def test_a_long_task_tells_how_far_it_is_now_and_then():
    told: list[str] = []
    at_once, later = benchmarks.now_and_then(told.append, 0), benchmarks.now_and_then(told.append)
    for done in (16, 32, 40):
        at_once(done, 40)
        later(done, 40)
    assert told == ["16 of 40 rows of the next task", "32 of 40 rows of the next task"]
