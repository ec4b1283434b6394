"""Answers of MT-Bench as a file: what is written is read again."""

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.instruct.mt_bench import answer_rows, read_answers
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
