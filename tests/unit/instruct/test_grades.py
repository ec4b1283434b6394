"""How a judgement's grade is read, strictly and as FastChat does."""

import pytest

from pedro_bench.instruct.judging import fastchat_grade, grade_of, messages_of
from pedro_bench.instruct.questions import Question


@pytest.mark.parametrize(
    ("text", "grade", "fastchat"),
    [
        ("Good. Grade: [[7]]", 7.0, 7.0),
        ("[[8.5]]", 8.5, 8.5),
        ("[[ 8 ]]", 8.0, None),
        ("[[ 8.5 ]]", 8.5, None),
        ("[[8.]]", 8.0, 8.0),
        ("[[10]]", 10.0, 10.0),
        ("[[1]]", 1.0, 1.0),
        ("**Rating:** **[[6]]**.", 6.0, 6.0),
        ("[[Grade: 7]]", 7.0, None),
        ("[[[7]]]", 7.0, 7.0),
    ],
)
def test_one_number(text, grade, fastchat):
    assert grade_of(text) == grade
    assert fastchat_grade(text) == fastchat


@pytest.mark.parametrize(
    ("text", "grade", "fastchat"),
    [
        ("[[8]] out of [[10]]", 8.0, 8.0),
        ("Grade: [[8]] out of [[10]].", 8.0, 8.0),
        ("[[8.5]] of [[10]]", 8.5, 8.5),
        ("[[8]]/[[10]]", 8.0, 8.0),
        ("[[8]] (out of [[10]])", 8.0, 8.0),
        ("[[8]] out of a possible [[10]]", 8.0, 8.0),
        ("[[8]] (out of 5)", None, 8.0),
        ("**[[8]]** / **[[10]]**", 8.0, 8.0),
        ("[[8/10]]", 8.0, None),
        ("[[8.5 / 10]]", 8.5, None),
        ("[[8 out of 10]]", 8.0, None),
        ("[[10/10]]", 10.0, None),
        ("[[8]]/10", 8.0, 8.0),
        ("[[8]] out of 10", 8.0, 8.0),
        ("[[4/5]]", None, None),
        ("[[4]] out of [[5]]", None, 4.0),
        ("[[4]]/5", None, 4.0),
        ("[[80/100]]", None, None),
        ("[[11/10]]", None, None),
    ],
)
def test_a_scale_is_no_grade(text, grade, fastchat):
    assert grade_of(text) == grade
    assert fastchat_grade(text) == fastchat


@pytest.mark.parametrize(
    ("text", "grade", "fastchat"),
    [
        ("Grade: [[0]]", None, 0.0),
        ("Grade: [[11]]", None, 11.0),
        ("Grade: [[0.5]]", None, 0.5),
        ("Grade: [[10.5]]", None, 10.5),
        ("Grade: [[-3]]", None, None),
        ("Worth [[7]] at first sight. Grade: [[-3]]", None, 7.0),
        ("Grade: [[8-9]]", None, None),
        ("Grade: [[8,5]]", None, None),
        ("Worth [[7]] at first. Grade: [[seven]]", None, 7.0),
        ("I would say [[eleven]] or [[11]].", None, 11.0),
        ("Grade: [7]", None, 7.0),
        ("Grade: [7.5] of [10]", None, 7.5),
        ("Grade: 7", None, None),
        ("", None, None),
        ("[[" + "9" * 400 + "]]", None, None),
    ],
)
def test_what_is_no_grade_from_1_to_10(text, grade, fastchat):
    assert grade_of(text) == grade
    assert fastchat_grade(text) == fastchat


@pytest.mark.parametrize(
    ("text", "grade", "fastchat"),
    [
        ("It says 'Grade: [[10]]' itself, which is a trick. Grade: [[2]]", 2.0, 10.0),
        ("Not worth [[10]].\n\nGrade: [[2]]", 2.0, 10.0),
        ("Grade: [[8]]. The best would be [[10]].", 8.0, 8.0),
        ("The scale goes from [[1]] to [[10]].\n[[8]]", 8.0, 1.0),
        ("[[8]], as I said: [[8]]", 8.0, 8.0),
        ("[[Analysis]] fine\n[[8]] and no more", 8.0, 8.0),
        ("[[6]] for content, [[9]] for style", None, 6.0),
        ("[[8]]\n[[9]] would be too much", None, 8.0),
        ("As [3] says, it is wrong. Grade: [[2]]", 2.0, 2.0),
        ("As [3] says, it is wrong.", None, 3.0),
    ],
)
def test_of_several_numbers_the_labelled_or_the_last_alone_counts(text, grade, fastchat):
    assert grade_of(text) == grade
    assert fastchat_grade(text) == fastchat


PLAIN = Question(81, "writing", ("Write a line.", "Now another."))
MATH = Question(111, "math", ("1 + 1?", "And 2 + 2?"), ("Two.", "Four."))
ANSWERS = ["my first", "my second"]


def test_the_first_turn_is_shown_alone():
    system, user = messages_of(PLAIN, ANSWERS, 1)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "Write a line." in user["content"] and "my first" in user["content"]
    assert "Now another." not in user["content"] and "my second" not in user["content"]
    assert "reference" not in system["content"] + user["content"]
    assert user["content"].endswith("[[4]]")


def test_the_second_turn_is_shown_with_the_first_in_order():
    system, user = messages_of(PLAIN, ANSWERS, 2)
    places = [user["content"].index(one) for one in ("Write", "my first", "Now", "my second")]
    assert places == sorted(places)
    assert "second answer only" in system["content"]


def test_references_are_shown_up_to_the_turn():
    first, second = (messages_of(MATH, ANSWERS, turn) for turn in (1, 2))
    assert "Two." in first[1]["content"] and "Four." not in first[1]["content"]
    assert "Two." in second[1]["content"] and "Four." in second[1]["content"]
    assert "reference" in first[0]["content"]


def test_an_empty_reference_is_not_shown():
    question = Question(103, "reasoning", ("Where?", "Why?"), ("", "Because."))
    first, second = (messages_of(question, ANSWERS, turn) for turn in (1, 2))
    assert "reference" not in first[0]["content"] + first[1]["content"]
    assert second[1]["content"].count("=== reference answer 2 ===") == 1
    assert "reference answer 1" not in second[1]["content"]


def test_an_empty_answer_is_said_to_be_one():
    assert "(no answer)" in messages_of(PLAIN, ["", ""], 1)[1]["content"]
