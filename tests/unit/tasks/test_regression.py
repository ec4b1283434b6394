import pytest
from scipy import stats

from pedro_bench.errors import ConfigError

ROW = {"sentence1": "a", "sentence2": "b"}


@pytest.mark.parametrize(
    ("label", "answer"),
    [(0, "0.0"), (5.0, "5.0"), ("2.5", "2.6"), (3.8, "3.8"), (2.33, "2.4"), (0.09, "0.0")],
)
def test_training_answers_stand_on_the_grid(make_task, label, answer):
    example = make_task("stsb").example({**ROW, "label": label})
    assert example.answer == answer
    assert answer in example.candidates
    assert float(example.golds[0]) == float(label)


def test_stsb_has_the_texts_of_t5(make_task):
    texts = tuple(f"{fifths // 5}.{fifths % 5 * 2}" for fifths in range(26))
    assert make_task("stsb").grid == texts
    assert texts[:6] == ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")


@pytest.mark.parametrize(
    ("changes", "begin", "end"),
    [
        ({"step": 0.25}, ("0.00", "0.25", "0.50", "0.75"), "5.00"),
        ({"step": 0.005, "most": 0.5}, ("0.000", "0.005", "0.010"), "0.500"),
        ({"step": 1}, ("0.0", "1.0", "2.0"), "5.0"),
        ({"step": 0.5, "least": -0.25, "most": 4.75}, ("-0.25", "0.25", "0.75"), "4.75"),
    ],
)
def test_texts_have_the_decimals_of_the_step(make_task, changes, begin, end):
    task = make_task("stsb", **changes)
    assert task.grid[: len(begin)] == begin
    assert task.grid[-1] == end
    assert [float(text) for text in task.grid] == pytest.approx(
        [task.least + number * task.step for number in range(len(task.grid))]
    )


def test_an_answer_off_the_scale_is_below_it(make_task):
    task = make_task("stsb")
    examples = [task.example({**ROW, "label": label}) for label in (0.0, 1.0, 5.0, 4.0)]
    off = task.score(["9.0", "1.0", "none", "4.0"], examples)
    assert off["invalid"] == 50.0
    assert off["pearson"] == pytest.approx(
        100 * stats.pearsonr([-0.2, 1, -0.2, 4], [0, 1, 5, 4])[0]
    )


def test_answers_off_the_scale_alone_correlate_with_nothing(make_task):
    task = make_task("stsb")
    examples = [task.example({**ROW, "label": label}) for label in (0.0, 1.0, 5.0)]
    off = task.score(["9.0", "none", ""], examples)
    assert off == {"pearson": 0.0, "spearman": 0.0, "invalid": 100.0}


def test_extraction_reads_the_number_at_the_start(make_task):
    task = make_task("stsb")
    example = task.example({**ROW, "label": 1})
    assert [task.extract(text, example) for text in (" 3.8\nmore", "4 of 5", "about 3")] == [
        "3.8",
        "4",
        "about 3",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"most": 0.0}, r"task.most must be a number above 0, got 0.0"),
        ({"step": 0.3}, r"task.step must divide the scale .*got 0.3 for 0.0 to 5.0"),
        (
            {"step": 1 / 3, "most": 1.0},
            r"task.step and task.least must have at most 6 decimals, got 0.3333333333333333 and 0.0",
        ),
        ({"step": 0.0}, r"task.step must be a number above 0 .*got 0.0"),
    ],
)
def test_the_scale_is_checked(make_task, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_task("stsb", **changes)
