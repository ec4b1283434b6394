import pytest

from pedro_bench.data.files import layout_of
from pedro_bench.data.formats import read_rows
from pedro_bench.errors import ConfigError, DataError


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


@pytest.mark.parametrize("changes", [{}, {"input": None}, {"id": 3, "text": "the whole prompt"}])
def test_an_absent_input_is_an_empty_one(make_task, changes):
    task = make_task("alpaca")
    row = {"instruction": "Say hello.", "output": "Hello."}
    assert task.example({**row, **changes}) == task.example({**row, "input": ""})


@pytest.mark.parametrize("name", ["inputs", "Input", "context"])
def test_an_input_under_another_name_is_not_passed_over(make_task, name):
    row = {"instruction": "Say hello.", name: "x", "output": "Hello."}
    with pytest.raises(DataError, match=rf"got a field '{name}' that the task does not read"):
        make_task("alpaca").example(row)
    aliased = make_task("alpaca", aliases={"input": [name]}).example(row)
    assert "Input: x" in aliased.prompt


@pytest.mark.parametrize("name", ["train.tsv", "train.csv"])
def test_a_table_without_a_column_of_inputs_is_read(make_task, tmp_path, name):
    between = "\t" if name.endswith("tsv") else ","
    lines = [between.join(cells) for cells in (("instruction", "output"), ("Say hello.", "Hi"))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    task = make_task("alpaca")
    ((row, _),) = read_rows(tmp_path / name, layout_of(task))
    assert task.example(row).prompt == "Instruction: Say hello.\nResponse:"


def test_inputs_are_left_out_of_both_settings_or_of_none(make_task):
    with pytest.raises(ConfigError, match=r"must be null together with task.input_field, got None"):
        make_task("alpaca", prompt_without_input=None)
    with pytest.raises(ConfigError, match=r"must be null together .* and None"):
        make_task("alpaca", input_field=None)
    assert make_task("ultrafeedback").fields == ("prompt", "chosen")
