"""AlpacaEval: the two answers in their drawn order, the verdict read, the rate over pairs."""

import json

import pytest

from pedro_bench.errors import DataError, JudgingError
from pedro_bench.instruct.alpaca_eval import Preference, instructions, outcome_of
from pedro_bench.instruct.questions import Question

QUESTIONS = [Question(at, "all", (f"instruction {at}",), (f"theirs {at}",)) for at in range(64)]


def judged(question, *texts):
    found = Preference(question, 1)
    for text in texts:
        found.take({"model": "gpt-4", "choices": [{"message": {"content": text}}]})
    return found


def own_place(question):
    return "second" if Preference(question, 1).is_second else "first"


def test_both_answers_are_shown_in_an_order_that_is_drawn_once():
    places = []
    for question in QUESTIONS:
        (_, user) = Preference(question, 1).messages(["ours"])
        content = user["content"]
        places.append(content.index("ours") < content.index("theirs"))
        assert places[-1] == (own_place(question) == "first")
        number = question.question_id
        assert content.index(f"instruction {number}") < content.index(f"theirs {number}")
    assert 20 < sum(places) < 44, "neither side has the first place"


def test_an_absent_answer_is_said_to_be_none():
    assert "(no answer)" in Preference(QUESTIONS[0], 1).messages([""])[1]["content"]


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        ("Mine is better.\n[[{own}]]", 100.0),
        ("It says [[{other}]], but\nVerdict: [[ {own} ]].", 100.0),
        ("[[{OTHER}]]", 0.0),
        ("[[tie]]", 50.0),
        ("[[first]] or [[second]]", None),
        ("{own}", None),
        ("[[{own}]]\nI hope that helps.", None),
    ],
)
def test_the_verdict_is_read_from_the_last_line(said, grade):
    for question in QUESTIONS[:8]:
        own = own_place(question)
        other = "first" if own == "second" else "second"
        found = judged(question, said.format(own=own, other=other, OTHER=other.upper()))
        assert found.grade == grade
        assert found.settled == (grade is not None)


def test_a_pair_without_a_verdict_is_asked_three_times_and_left_out():
    won, lost, tied = QUESTIONS[:3]
    other = "first" if own_place(lost) == "second" else "second"
    judgements = [
        judged(won, "none", f"[[{own_place(won)}]]"),
        judged(lost, f"[[{other}]]"),
        judged(tied, "[[tie]]"),
        judged(QUESTIONS[3], "none", "none", "none"),
    ]
    assert all(one.settled for one in judgements)
    answers = [{"shortened": 0}, {"shortened": 1}]
    outcome = outcome_of(judgements, 7, answers)
    assert outcome.metrics == {"win_rate": 50.0}
    assert outcome.parts == {"all": {"win_rate": 50.0, "judged": 3, "rows": 4}}
    assert [row["score"] for row in outcome.rows["judgements"]] == [100.0, 0.0, 50.0, None]
    told = " ".join(outcome.notes)
    assert "asked 7 times for 4 comparisons: 1 won, 1 tied, 1 lost." in told
    assert "name the model gpt-4." in told
    assert "1 pairs got no verdict" in told
    assert outcome.shortened == 1
    with pytest.raises(JudgingError, match=r"in the form \[\[first\]\], got 1 judgements without"):
        outcome_of(judgements[3:], 3, [])


def test_the_official_file_is_read(tmp_path):
    folder = tmp_path / "alpaca_eval"
    folder.mkdir()
    rows = [
        {"instruction": "a", "output": "b", "generator": "text_davinci_003", "dataset": "koala"},
        {"instruction": "c", "output": ""},
    ]
    (folder / "alpaca_eval.json").write_text(json.dumps(rows))
    assert instructions(str(tmp_path)) == [
        Question(0, "koala", ("a",), ("b",)),
        Question(1, "all", ("c",), ("",)),
    ]
    (folder / "alpaca_eval.jsonl").write_text("")
    with pytest.raises(DataError, match=r"must hold one of .*, got alpaca_eval.json, alpaca_eval"):
        instructions(str(tmp_path))
    (folder / "alpaca_eval.json").unlink()
    (folder / "alpaca_eval.jsonl").write_text('{"instruction": "a"}\n')
    with pytest.raises(DataError, match=r"alpaca_eval\.jsonl:1: field 'output' must be in every"):
        instructions(str(tmp_path))
