"""Answers of MT-Bench as a file: what is written is read again."""

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.instruct.judging import Judgement
from pedro_bench.instruct.mt_bench import answer_rows, outcome_of, read_answers
from pedro_bench.instruct.questions import Question
from pedro_bench.instruct.record import write_rows

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
