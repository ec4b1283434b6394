"""Questions of MT-Bench: official files, the Hub's names, and what is wrong with a row."""

import json
import re

import pytest

from pedro_bench.errors import DataError
from pedro_bench.instruct.questions import Question, local_questions
from tests.tiny import REAL_DATA

ROW = {"question_id": 81, "category": "math", "turns": ["Write.", "Again."]}
REFERENCE = {"question_id": 81, "choices": [{"index": 0, "turns": ["A line.", "Another."]}]}


def write(folder, rows, references=()):
    place = folder / "mt_bench"
    place.mkdir(exist_ok=True)
    (place / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if references:
        (place / "reference_answer").mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in references)
        (place / "reference_answer" / "judge.jsonl").write_text(lines)
    return str(folder)


def test_questions_with_and_without_references(tmp_path):
    question = Question(81, "math", ("Write.", "Again."))
    assert local_questions(write(tmp_path, [ROW])) == [question]
    referenced = [Question(81, "math", ("Write.", "Again."), ("A line.", "Another."))]
    inside = {**ROW, "reference": ["A line.", "Another."]}
    assert local_questions(write(tmp_path, [inside])) == referenced
    renamed = {"prompt_id": 81, "category": "math", "prompt": ROW["turns"], "reference": []}
    assert local_questions(write(tmp_path, [renamed])) == [question]
    assert local_questions(write(tmp_path, [ROW], [REFERENCE])) == referenced


def test_references_are_seen_where_the_official_judge_sees_them(tmp_path):
    for category, shown in (
        ("writing", ()),
        ("stem", ()),
        ("coding", ("A.", "")),
        ("own", ("A.", "")),
    ):
        row = {**ROW, "category": category, "reference": ["A.", ""]}
        question = local_questions(write(tmp_path, [row]))[0]
        assert question.reference == shown
        assert question.is_referenced(1) is question.is_referenced(2) is bool(shown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": "81"}, "field 'question_id' must be a whole number, got '81'"),
        ({"question_id": 81}, "field 'question_id' must stand once, got 81 again"),
        ({"turns": ["one"]}, "field 'turns' must be two texts, got 1"),
        ({"turns": "one"}, "field 'turns' must be a list of texts, got 'one'"),
        ({"turns": ["one", " "]}, "field 'turns' must be a list of texts, got ['one', ' ']"),
        ({"category": None}, "field 'category' must be a text, got None"),
        ({"reference": [1]}, "field 'reference' must be a list of texts, got [1]"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    root = write(tmp_path, [ROW, {**ROW, "question_id": 82, **change}])
    with pytest.raises(DataError, match=re.escape(f"question.jsonl:2: {message}")):
        local_questions(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": 99}, "field 'question_id' must be a question's, got 99"),
        ({"choices": []}, "field 'choices' must be a list of answers, got []"),
        ({"choices": [{"turns": ["a"]}]}, "field 'choices[0].turns' must be two texts, got 1"),
    ],
)
def test_a_bad_reference_is_named(tmp_path, change, message):
    root = write(tmp_path, [ROW], [{**REFERENCE, **change}])
    with pytest.raises(DataError, match=re.escape(f"judge.jsonl:1: {message}")):
        local_questions(root)


def test_absent_and_ambiguous_files(tmp_path):
    (tmp_path / "mt_bench").mkdir()
    with pytest.raises(DataError, match=r"must hold question.jsonl, got no such file"):
        local_questions(str(tmp_path))
    root = write(tmp_path, [ROW], [REFERENCE])
    (tmp_path / "mt_bench" / "reference_answer" / "other.jsonl").write_text("")
    with pytest.raises(DataError, match=r"must hold one file, got judge.jsonl, other.jsonl"):
        local_questions(root)


@pytest.mark.skipif(
    not (REAL_DATA / "mt_bench").is_dir(), reason="no real data beside the repository"
)
def test_the_official_files():
    questions = local_questions(str(REAL_DATA))
    assert len(questions) == 80
    referenced = {one.category for one in questions if one.reference}
    assert referenced == {"math", "reasoning", "coding"}
    assert sum(one.is_referenced(2) for one in questions) == 30
