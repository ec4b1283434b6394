import pytest

from pedro_bench.data.splits import make_splits
from pedro_bench.protocols.task import Located


def pairs(*rows):
    return [
        Located({"mr": mr, "ref": ref}, f"row {number}") for number, (mr, ref) in enumerate(rows)
    ]


TEST = pairs(("a", "A is number one ."), ("b", "B is not a number ."), ("a", "A is number two ."))


@pytest.fixture
def splits(make_task):
    raw = {
        "train": pairs(("t", "T ."), ("t", "T again .")),
        "validation": pairs(("d", "D .")),
        "test": TEST,
    }
    return make_splits(make_task("e2e"), raw, holdout=None)


def test_the_test_split_holds_each_meaning_once_with_all_its_texts(splits):
    assert splits.train.rows == 2
    assert [(one.prompt, one.golds) for one in splits.test.examples] == [
        ("Facts: a\nDescription:", ("A is number one .", "A is number two .")),
        ("Facts: b\nDescription:", ("B is not a number .",)),
    ]


def test_any_of_the_texts_scores_as_a_reference(make_task, splits):
    scores = make_task("e2e").score(
        ["A is number two .", "B is not a number ."], splits.test.examples
    )
    assert scores["bleu"] == pytest.approx(100.0)
    assert scores["rouge_l"] == pytest.approx(100.0)


def test_rows_of_one_meaning_are_grouped_where_they_are_scored(make_task, splits):
    task = make_task("e2e")
    examples = [task.example(row) for row, _ in TEST]
    whole = task.score(["A is number two .", "B is not a number .", "ignored"], examples)
    assert whole == task.score(["A is number two .", "B is not a number ."], splits.test.examples)
