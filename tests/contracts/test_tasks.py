"""What every task must satisfy, for each YAML in conf/task, on rows of our own (tests/data)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedro_bench.errors import DataError
from pedro_bench.protocols.settings import build_group, describe
from pedro_bench.protocols.task import Task

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))
CASES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/data/tasks").glob("*")}

pytestmark = pytest.mark.parametrize("name", NAMES)


def build(name: str) -> Task:
    config = yaml.safe_load((ROOT / "conf" / "task" / f"{name}.yaml").read_text())
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
    train, _ = task.official_rows
    assert task.split_rule == ("halves" if train < 10_000 else "holdout")


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
    kept = {field: case["row"][field] for field in task.fields}
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


def test_perfect_predictions_score_the_maximum(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    predictions = [task.extract(f" {gold}\n", example) for gold in example.golds]
    scores = task.score(predictions, [example] * len(predictions))
    assert task.main_metric in scores
    assert {key for key, value in scores.items() if value == 100.0} == set(scores) - {"invalid"}
    assert scores.get("invalid", 0.0) == 0.0


def test_a_damaged_set_scores_its_known_value(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    texts = case["damaged"]["texts"]
    predictions = [task.extract(text, example) for text in texts]
    scores = task.score(predictions, [example] * len(texts))
    assert scores == pytest.approx(case["damaged"]["scores"], abs=1e-3)


def test_twins_have_one_identity(task: Task, case: dict[str, Any]) -> None:
    example = task.example(case["row"])
    twin = {
        name: f" {value.upper()}  " if name in task.fields and isinstance(value, str) else value
        for name, value in case["row"].items()
    }
    changed = {**case["row"], task.fields[0]: "something else"}
    if name_of_words := getattr(task, "words", None):
        twin |= {name: case["row"][name] for name in name_of_words}
    if "query" in twin:
        twin["query"] = re.sub("@PLACEHOLDER", "@placeholder", twin["query"])
    assert task.example(twin).identity == example.identity
    assert task.example(changed).identity != example.identity


def test_the_hub_revision_is_a_full_commit(task: Task) -> None:
    assert task.hub_id is not None
    assert re.fullmatch(r"[0-9a-f]{40}", str(task.hub_revision))
