import pytest

from pedro_bench.errors import DataError


def test_training_uses_the_first_gold_and_scoring_all(make_task):
    task = make_task("squad")
    row = {"context": "Built in May 1820.", "question": "When?", "answers": ["May 1820", "1820"]}
    example = task.example(row)
    assert example.answer == "May 1820"
    assert example.extractive
    assert task.score(["1820"], [example])["em"] == 100.0


def test_extraction_takes_the_first_line_as_it_is(make_task):
    task = make_task("squad")
    example = task.example({"context": "c", "question": "q", "answers": ["c"]})
    assert task.extract("  the Mill, of course \nQuestion: who?", example) == "the Mill, of course"


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": []},
        {"answers": {"text": [], "answer_start": []}},
        {"answers": "{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}"},
        {"answers": ["c"], "is_impossible": True},
        {"answers": "['c']", "is_impossible": "True"},
    ],
)
def test_questions_without_an_answer_are_named(make_task, changes):
    row = {"context": "c", "question": "q", **changes}
    with pytest.raises(DataError, match=r"without an answer, as in SQuAD 2.0; use SQuAD 1.1"):
        make_task("squad").example(row)


@pytest.mark.parametrize("flag", [False, "False", 0, None])
def test_questions_of_squad_2_that_have_an_answer_are_read(make_task, flag):
    row = {"context": "c", "question": "q", "answers": "['c' 'd']", "is_impossible": flag}
    assert make_task("squad").example(row).golds == ("c", "d")
