"""Numbers move only with a version: every trace is as it is stored, or its component's version is raised."""

import copy
import json

import pytest

from tests.golden.traces import (
    EVALUATIONS,
    FOLDER,
    differences,
    drift,
    keys,
    makers,
    stored,
    untraced_settings,
    verdict,
)

TRACES = [(file, name) for file, own in makers().items() for name in sorted(own)]


@pytest.mark.parametrize(("file", "name"), TRACES)
def test_a_trace_is_as_stored(file: str, name: str) -> None:
    wrong = verdict(file, name, makers()[file][name](), stored(file).get(name, {}))
    assert wrong is None, wrong


def test_nothing_is_stored_that_is_not_made() -> None:
    assert {(file, name) for file in makers() for name in stored(file)} == set(TRACES)
    assert {path.stem for path in FOLDER.glob("*.json")} == {*makers(), "keys"}


def test_every_setting_of_the_trainer_has_a_trace_of_its_own() -> None:
    assert untraced_settings() == set()
    plain = {json.dumps(one["trace"]) for one in stored("trainers").values()}
    assert len(plain) == len(stored("trainers")), "a setting does nothing that its trace shows"
    assert len({json.dumps(one["trace"]) for one in stored("evaluations").values()}) == len(
        EVALUATIONS
    )


def test_keys_are_as_stored() -> None:
    """A moved key makes committed results due again: it is to be a version's, told in the CHANGELOG."""
    assert keys() == json.loads((FOLDER / "keys.json").read_text(encoding="utf-8"))


def test_a_moved_trace_names_the_version_to_raise() -> None:
    old = stored("methods")["lora"]
    moved = copy.deepcopy(old)
    moved["trace"]["history"][0]["dev_loss"] *= 1.001
    said = verdict("methods", "lora", moved, old)
    assert said is not None
    assert said.startswith(
        "trace lora of tests/golden/methods.json must not move while its versions stay"
    )
    assert "history.0.dev_loss" in said
    assert "raise the version of method.Lora" in said
    moved["versions"]["method.Lora"] += 1
    said = verdict("methods", "lora", moved, old)
    assert said is not None
    assert said.endswith("of other versions (method.Lora 1 -> 2): run make golden.")
    said = verdict(
        "tasks", "squad", {**stored("tasks")["squad"], "trace": {}}, stored("tasks")["squad"]
    )
    assert said is not None
    assert "metric.f1_em or task.ExtractiveQA, or `version` of the task's YAML" in said


def test_rounding_of_another_processor_passes_and_more_does_not() -> None:
    old = {"a": [1.0, {"text": "yes"}], "b": 0.0}
    assert list(differences(old, {"a": [1.00005, {"text": "yes"}], "b": 0.0})) == []
    assert list(differences(old, {"a": [1.001, {"text": "yes"}], "b": 0.0})) == [
        "a.0: 1.0 -> 1.001"
    ]
    assert list(differences(old, {"a": [1.0, {"text": "no"}], "b": 0.0})) == [
        "a.1.text: 'yes' -> 'no'"
    ]
    assert list(differences(old, {"a": [1.0], "b": 0.0})) == ["a: [1.0, {'text': 'yes'}] -> [1.0]"]
    assert list(differences({"a": 1}, {"b": 1})) == ["a: only before", "b: only now"]


def test_drift_is_the_greatest_relative_difference_and_other_texts() -> None:
    old = {"a": [1.0, 2.0], "b": "yes", "c": None}
    assert drift(old, old) == {"relative": 0.0, "texts": []}
    assert drift(old, {"a": [1.0, 2.5], "b": "no", "c": None}) == {
        "relative": 0.2,
        "texts": ["'yes' -> 'no'"],
    }
