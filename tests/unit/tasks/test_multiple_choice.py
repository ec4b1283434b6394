import pytest

from pedro_bench.errors import ConfigError, DataError


def test_choices_must_be_fields_of_the_prompt(make_task):
    message = r"task.choices and task.words must name fields .*got 'choice3'. Did you mean 'choice"
    with pytest.raises(ConfigError, match=message):
        make_task("copa", choices=["choice1", "choice3"])
    with pytest.raises(ConfigError, match=r"task.choices .*got 'kind'"):
        make_task("copa", words={"kind": ["cause"]})


def test_there_must_be_two_choices(make_task):
    with pytest.raises(ConfigError, match=r"must name at least two fields, got \['choice1'\]"):
        make_task("copa", choices=["choice1"])


def test_extraction_gives_the_choice_in_its_own_spelling(make_task):
    row = {"premise": "p", "choice1": "It rained.", "choice2": "It snowed.", "label": 1}
    task = make_task("copa")
    example = task.example({**row, "question": "effect"})
    assert example.answer == "It snowed."
    assert task.extract(" it SNOWED\n", example) == "It snowed."
    assert task.extract("It hailed.", example) == "It hailed."


@pytest.mark.parametrize(("label", "answer"), [(1.0, "b"), ("0.0", "a"), ("1", "b")])
def test_the_choices_number_may_have_decimals(make_task, label, answer):
    row = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": label}
    assert make_task("copa").example(row).answer == answer


@pytest.mark.parametrize("label", [0.5, "2.0", True, "nan", "-1.0"])
def test_other_numbers_are_no_choices(make_task, label):
    row = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": label}
    with pytest.raises(DataError, match=r"field 'label' must be one of 0, 1, got"):
        make_task("copa").example(row)
