"""What the judge is asked."""

from pedro_bench.instruct.judge_prompts import messages_of
from pedro_bench.instruct.questions import Question

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
