"""Answers of MT-Bench as a file: what is written is read again."""

import json
from types import SimpleNamespace

import pytest

from pedro_bench.errors import JudgingError, RecordError
from pedro_bench.evaluation.config import SEARCH
from pedro_bench.instruct import judged_job
from pedro_bench.instruct.alpaca_eval import AlpacaEvalJob
from pedro_bench.instruct.answers import answer_rows, read_answers
from pedro_bench.instruct.evaluate import evaluate
from pedro_bench.instruct.job import Outcome, find_run
from pedro_bench.instruct.judging import Judgement
from pedro_bench.instruct.mt_bench import MtBenchJob, outcome_of
from pedro_bench.instruct.questions import Question
from pedro_bench.instruct.record import write_rows
from pedro_bench.instruct.request import DEFAULTS, request_of
from tests.tiny import REPOSITORY, read_yaml
from tests.unit.analysis.runs import run

QUESTIONS = [Question(81, "writing", ("a", "b")), Question(82, "math", ("c", "d"))]


def test_answers_may_hold_any_line_separator_but_end_with_line_feeds(tmp_path):
    said = ["a\u2028b\x85c", "d\u2029e\nf"]
    entries = {
        one.question_id: [{"answer": text, "shortened": False} for text in said]
        for one in QUESTIONS
    }
    rows = answer_rows(QUESTIONS, entries)
    path = tmp_path / "answers" / "run.jsonl"
    path.parent.mkdir()
    write_rows(tmp_path / "record.json", path, rows)
    assert "\u2028" in path.read_text(encoding="utf-8")
    assert read_answers(path, QUESTIONS) == rows

    with pytest.raises(RecordError, match="two answers to each of 1 questions, got 2"):
        read_answers(path, QUESTIONS[:1])
    path.write_bytes(b'{"question_id": "\xff"}\n')
    with pytest.raises(RecordError, match=r"must hold answers, got .*UTF-8.*: give rerun=true"):
        read_answers(path, QUESTIONS)


def judged(question, turn, *texts, model=None):
    named = {} if model is None else {"model": model}
    found = Judgement(question, turn)
    for text in texts:
        found.take({**named, "choices": [{"message": {"content": text}}]})
    return found


def test_fastchats_reading_stands_beside_the_strict_one():
    """FastChat asks once, takes the first grade, and `[n]` where there is no `[[n]]`."""
    judgements = [
        judged(QUESTIONS[0], 1, "[[8]] out of [[10]]", model="gpt-4-0613"),
        judged(QUESTIONS[0], 2, "It says '[[10]]'. Grade: [[2]]", model="gpt-4-0613"),
        judged(QUESTIONS[1], 1, "Grade: [5]", "Grade: [[6]]"),
        judged(QUESTIONS[1], 2, "none", "none", "none"),
    ]
    outcome = outcome_of(judgements, 7, [])
    assert outcome.metrics == {
        "score": pytest.approx((8 + 2 + 6) / 3),
        "turn_1": 7.0,
        "turn_2": 2.0,
        "fastchat_score": pytest.approx((8 + 10 + 5) / 3),
        "fastchat_turn_1": 6.5,
        "fastchat_turn_2": 10.0,
    }
    assert list(outcome.metrics) == [
        *("score", "turn_1", "turn_2", "fastchat_score", "fastchat_turn_1", "fastchat_turn_2")
    ]
    strict = {"score": 6.0, "turn_1": 6.0}
    fastchat = {"fastchat_score": 5.0, "fastchat_turn_1": 5.0}
    assert outcome.parts["math"] == {**strict, **fastchat, "graded": 1, "rows": 2}
    rows = outcome.rows["judgements"]
    assert [row["fastchat_score"] for row in rows] == [8.0, 10.0, 5.0, None]
    told = "FastChat's reading of the judgements differs from the strict one on 2 of 4 answers."
    assert told in outcome.notes
    assert "The judge's replies name the model gpt-4-0613." in outcome.notes


ROWS = {
    "mt_bench/question.jsonl": {"question_id": 1, "category": "writing", "turns": ["a", "b"]},
    "alpaca_eval/alpaca_eval.jsonl": {"instruction": "a", "output": "b"},
}
EMPTY = Outcome(metrics={"score": 1.0}, parts={}, rows={})
JOBS = {"mt_bench": MtBenchJob, "alpaca_eval": AlpacaEvalJob}


@pytest.fixture
def make_job(tmp_path):
    """A function that makes the job of a suite on a run with these settings of its evaluation."""
    for name, row in ROWS.items():
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(row) + "\n")
    task = read_yaml(REPOSITORY / "conf" / "task" / "alpaca.yaml")

    def make(suite, evaluation, **changes):
        groups = {"task": task, "evaluation": {"batch_size": 4, **evaluation}}
        values = {
            **DEFAULTS,
            "run": str(run(tmp_path / "results", key="ab12", groups=groups)),
            "suite": suite,
            "data.root": str(tmp_path / "data"),
            "judge.model": "judge-1",
            "device": "cpu",
            "output_dir": str(tmp_path / "outputs"),
            **changes,
        }
        request = request_of(values)
        return JOBS[suite](request, find_run(request))

    return make


@pytest.fixture
def generated(monkeypatch):
    """The options of each call of `generate`, which answers without a model."""

    class Contexts:
        misread = 0

        def __init__(self, tokenizer, max_length):
            pass

        def encode(self, texts):
            return [(1, 5)] * len(texts)

        def fit(self, ids, room):
            return ids

    used = []

    def generate(adapted, prompts, **options):
        used.append({name: options.get(name) for name in SEARCH})
        return ["yes"] * len(prompts)

    method = SimpleNamespace(num_positions=0)
    shape = SimpleNamespace(max_positions=64)
    adapted = SimpleNamespace(method=method, backbone=SimpleNamespace(shape=shape))
    saved = SimpleNamespace(adapted=adapted, tokenizer=None)
    monkeypatch.setattr(judged_job, "load", lambda path, device: saved)
    monkeypatch.setattr(judged_job, "Contexts", Contexts)
    monkeypatch.setattr("pedro_bench.evaluation.decoding.generate", generate)
    return used


@pytest.mark.parametrize("suite", JOBS)
def test_the_runs_search_is_in_the_key_and_in_force(suite, make_job, generated):
    search = {"num_beams": 3, "length_penalty": 1.0, "no_repeat_ngram_size": 0}
    first = make_job(suite, search)
    assert first.config.items() >= search.items()
    assert make_job(suite, {}).key == first.key, "as `load(run).generate` has it"
    keys = {make_job(suite, {**search, name: 2}).key for name in search}
    assert len({first.key, *keys}) == 4

    own = {"num_beams": 3, "length_penalty": 0.9, "no_repeat_ngram_size": 5}
    job = make_job(suite, own, **{"evaluation.num_beams": 2})
    job._answer(job._all_questions(), [].append)
    assert generated
    assert all(one == {**own, "num_beams": 2} for one in generated)


def test_an_interrupted_rerun_goes_on_and_leaves_the_old_answers(
    make_job, generated, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    place = tmp_path / "record.json"
    held = []

    def judge_all(client, judge, questions, answers, journal, *others):
        held.append(list(journal.entries))
        journal.append({"paid": len(held)})
        if len(held) in (1, 2, 3):
            raise JudgingError("interrupted")
        return [judged(questions[0], 1, "[[8]]")], 1

    monkeypatch.setattr(judged_job, "judge_all", judge_all)
    with pytest.raises(JudgingError):
        make_job("mt_bench", {}).make(place, [].append)
    (answers,) = place.parent.glob("answers/*.jsonl")
    answers.write_text(old := answers.read_text().replace("yes", "old"))
    for _ in range(2):
        with pytest.raises(JudgingError):
            make_job("mt_bench", {}, rerun=True).make(place, [].append)
        assert answers.read_text() == old
    asked = len(generated)
    again = make_job("mt_bench", {}, rerun=True)
    outcome = again.make(place, [].append)
    assert held == [[], [], [{"paid": 2}], [{"paid": 2}, {"paid": 3}]]
    assert [row["answers"] for row in outcome.rows["answers"]] == [["yes", "yes"]]
    assert len(generated) == asked == 4
    again.clean()
    assert not list((tmp_path / "outputs").rglob("*.jsonl"))


@pytest.mark.parametrize("suite", JOBS)
@pytest.mark.parametrize("rerun", [False, True])
def test_a_rerun_starts_anew_where_a_kill_left_a_finished_ones_journals(
    rerun, suite, make_job, generated, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    held = []

    def judge_all(client, judge, questions, answers, journal, *others):
        held.append(list(journal.entries))
        journal.append({"paid": len(held)})
        return [], 1

    def killed(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(judged_job, "judge_all", judge_all)
    monkeypatch.setattr(JOBS[suite], "outcome", lambda *_: EMPTY)
    first = make_job(suite, {}, rerun=rerun).request
    with monkeypatch.context() as patched:
        patched.setattr(JOBS[suite], "clean", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(first, [].append)
    journals = set((tmp_path / "outputs").rglob("*.jsonl"))
    assert len(journals) == 2
    asked = len(generated)
    _, path = evaluate(make_job(suite, {}, rerun=True).request, [].append)
    assert path.is_file()
    assert held == [[], []]
    assert len(generated) == 2 * asked
    assert not list((tmp_path / "outputs").rglob("*.jsonl"))
