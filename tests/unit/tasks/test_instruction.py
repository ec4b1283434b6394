import pytest

from pedro_bench.errors import ConfigError


def test_an_empty_input_leaves_its_line_out(make_task):
    row = {"instruction": "Say hello.", "input": "", "output": "Hello."}
    example = make_task("alpaca").example(row)
    assert example.prompt == "Instruction: Say hello.\nResponse:"
    assert example.answer == "Hello."


def test_an_empty_response_is_kept_since_official_rows_have_some(make_task):
    task = make_task("alpaca")
    example = task.example({"instruction": "Be silent.", "input": "", "output": ""})
    assert example.answer == ""
    assert task.score([""], [example]) == {"rouge_l": 100.0, "em": 100.0}


def test_a_response_may_have_several_lines(make_task):
    task = make_task("alpaca")
    example = task.example({"instruction": "List two.", "input": "", "output": "1. a\n2. b"})
    assert task.extract(" 1. a\n2. b \n", example) == "1. a\n2. b"


def test_both_prompts_must_have_the_same_fields_but_the_input(make_task):
    with pytest.raises(ConfigError, match=r"task.prompt_without_input must have .* less 'input'"):
        make_task("alpaca", prompt_without_input="Task: {input}\nResponse:")


@pytest.mark.parametrize(
    ("shrinkable", "given", "cut"),
    [("input", "x", ["x"]), ("input", "", ["Say hello."]), (None, "x", []), (None, "", [])],
)
def test_the_last_field_may_be_cut_unless_nothing_may(make_task, shrinkable, given, cut):
    task = make_task("alpaca", shrinkable=shrinkable)
    example = task.example({"instruction": "Say hello.", "input": given, "output": "Hello."})
    assert [part.text for part in example.parts if part.can_shrink] == cut
    assert example.open_ended
