"""What every task must satisfy, for each YAML in conf/task, on rows of our own (tests/data)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.data.hub import pinned
from pedro_bench.errors import DataError
from pedro_bench.protocols.settings import build_group, describe
from pedro_bench.protocols.task import Example, Task
from tests.tiny import read_yaml

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))
CASES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/data/tasks").glob("*")}

pytestmark = pytest.mark.parametrize("name", NAMES)


def build(name: str) -> Task:
    config = read_yaml(ROOT / "conf" / "task" / f"{name}.yaml")
    task: Task = build_group("task", config)
    return task


@pytest.fixture
def task(name: str) -> Task:
    return build(name)


@pytest.fixture
def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = CASES[name]
    return found


def test_the_yaml_is_complete(name: str, task: Task) -> None:
    assert task.name == name
    assert task.version >= 1
    assert build_group("task", describe(task)) == task
    train, validation = task.official_rows
    by_size = "halves" if train < 10_000 else "holdout" if validation else "train_only"
    assert task.split_rule in (by_size, "from_validation", "given")


def test_golden_example(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    assert example.prompt == case["prompt"]
    assert example.answer == case["answer"]
    assert list(example.golds) == case["golds"]
    assert list(example.candidates) == case["candidates"]


def test_all_official_spellings_give_the_same_example(task: Task, case: dict[str, Any]) -> None:
    expected = task.example(case["row"])
    for row in case["same"]:
        assert task.example(row) == expected


def test_the_prompt_does_not_give_the_answer_away(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    assert example.prompt == example.prompt.rstrip()
    assert not example.prompt.endswith(example.answer)
    last_field = str(case["row"].get("question", ":"))
    assert example.prompt.endswith((":", last_field)), "a cue or the question must come last"


def test_only_a_field_can_shrink(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    values = [str(value).strip() for value in case["row"].values()]
    assert all(part.text in values for part in example.parts if part.can_shrink)
    assert not example.parts[-1].can_shrink


def test_fields_are_what_a_row_must_have(task: Task, case: dict[str, Any]) -> None:
    optional = getattr(task, "input_field", None)
    kept = {field: case["row"][field] for field in (*task.fields, optional) if field is not None}
    assert task.example(kept) == task.example(case["row"])
    for field in task.fields:
        lacking = {name: value for name, value in kept.items() if name != field}
        with pytest.raises(DataError, match=f"field '{field}' must be in every row, got none"):
            task.example(lacking)


def test_wrong_rows_are_told_in_one_sentence(task: Task, case: dict[str, Any]) -> None:
    for row, message in case["wrong"]:
        with pytest.raises(DataError, match=message) as caught:
            task.example(row)
        assert "\n" not in str(caught.value)


def examples_of(task: Task, case: dict[str, Any], number: int) -> list[Example]:
    """Return examples of the case's rows in turn: a correlation needs more than one."""
    rows = [case["row"], *case.get("more", [])]
    return [task.example(rows[at % len(rows)]) for at in range(number)]


def test_perfect_predictions_score_the_maximum(task: Task, case: dict[str, Any]) -> None:
    examples = examples_of(task, case, 1 + len(case.get("more", [])))
    predictions = [task.extract(f" {one.golds[0]}\n", one) for one in examples]
    scores = task.score(predictions, examples)
    assert task.main_metric in scores
    assert scores.pop("invalid", 0.0) == 0.0
    for name, value in case.get("perfect", dict.fromkeys(scores, 100.0)).items():
        assert value is None or scores[name] == pytest.approx(value)


def test_every_gold_is_as_good(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    golds = [task.extract(f" {gold}\n", example) for gold in example.golds]
    scores = [task.score([gold], [example]) for gold in golds]
    assert all(score == scores[0] for score in scores)


def test_a_damaged_set_scores_its_known_value(task: Task, case: dict[str, Any]) -> None:
    texts = case["damaged"]["texts"]
    examples = examples_of(task, case, len(texts))
    predictions = [task.extract(text, one) for text, one in zip(texts, examples, strict=True)]
    scores = task.score(predictions, examples)
    expected = case["damaged"]["scores"]
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    assert set(expected) in (set(scores), set()), "all measures, or those of the reference tests"


def test_a_main_metric_that_is_a_mean_says_so(task: Task, case: dict[str, Any]) -> None:
    """Under the damaged set, and under one answer for all, which makes correlations 0."""
    texts = case["damaged"]["texts"]
    examples = examples_of(task, case, len(texts))
    agrees = []
    for said in (texts, texts[:1] * len(texts)):
        answers = [task.extract(text, one) for text, one in zip(said, examples, strict=True)]
        alone = [
            task.score([answer], [one])[task.main_metric]
            for answer, one in zip(answers, examples, strict=True)
        ]
        total = task.score(answers, examples)[task.main_metric]
        agrees.append(sum(alone) / len(alone) == pytest.approx(total))
    assert all(agrees) == task.is_mean_over_examples


def test_duplicates_have_one_identity(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    duplicate = {
        name: f" {value.upper()}  " if name in task.fields and isinstance(value, str) else value
        for name, value in case["row"].items()
    }
    changed = {**case["row"], task.fields[0]: "something else"}
    if name_of_words := getattr(task, "words", None):
        duplicate |= {name: case["row"][name] for name in name_of_words}
    if "query" in duplicate:
        duplicate["query"] = re.sub("@PLACEHOLDER", "@placeholder", duplicate["query"])
    assert task.example(duplicate).identity == example.identity
    assert task.example(changed).identity != example.identity


def test_the_hub_revision_is_a_full_commit_or_the_hub_is_refused(task: Task) -> None:
    if task.hub_id is None:
        with pytest.raises(DataError, match=r"task.hub_id must name .* got null .*use data=files"):
            pinned(task)
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", pinned(task)[1])
