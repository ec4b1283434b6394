"""What moves a key and what does not: versions and settings do, code does not."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.checks import later
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.options import options
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.methods.lora import Lora
from pedro_bench.metrics.classification import accuracy
from pedro_bench.metrics.question_answering import f1_em
from pedro_bench.runs import identity
from pedro_bench.runs.environment import now
from pedro_bench.runs.identity import key_parts, run_key, versions
from pedro_bench.tasks.classification import Classification
from pedro_bench.training.config import TrainerConfig

REPOSITORY = Path(__file__).resolve().parents[3]

KEYS = """
import json
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.options import options
from pedro_bench.runs.identity import run_key
runs = [["method=" + name, "task=boolq"] for name in sorted(options("method"))]
runs += [["method=pedro", "task=" + name] for name in ("squad", "copa", "record", "alpaca")]
print(json.dumps({" ".join(run): run_key(settings_of(run)) for run in runs}))
"""


def keys_in(folder: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", KEYS], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("pedro_bench", "conf"):
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


@pytest.mark.timeout(300)
def test_added_renamed_and_moved_code_changes_no_key(copy: Path) -> None:
    before = keys_in(copy)
    assert len(set(before.values())) == len(before) > 35
    package = copy / "pedro_bench"
    for folder in ("nn", "metrics", "methods", "tasks", "reporting", "training", "data"):
        (package / folder / "added.py").write_text('"""Added."""\n\nVALUE = 1\n')
    yaml = (copy / "conf/method/lora.yaml").read_text().replace("name: lora", "name: lora_too")
    yaml = yaml.replace("lr: null", "lr: 3.0e-3")  # as conf/rates/micro.yaml has it for lora
    (copy / "conf/method/lora_too.yaml").write_text(yaml)
    # a module is renamed, with the YAMLs that name it
    (package / "methods/lora.py").rename(package / "methods/low_rank_adaptation.py")
    for path in (copy / "conf/method").glob("lora*.yaml"):
        text = path.read_text().replace("methods.lora.Lora", "methods.low_rank_adaptation.Lora")
        path.write_text(text)
    # a function moves, and a comment and a docstring change
    checks = package / "metrics" / "classification.py"
    text = checks.read_text()
    start = text.index("@versioned(1)\ndef invalid")
    end = text.index("def check_lengths")
    (package / "metrics" / "outside.py").write_text(
        text[: text.index("from pedro_bench")]
        + "from pedro_bench.metrics import versioned\n\n\ndef check_lengths(*_: int) -> None: ...\n\n\n"
        + text[start:end]
    )
    checks.write_text(
        text[:start] + text[end:] + "\nfrom pedro_bench.metrics.outside import invalid  # noqa\n"
    )
    after = keys_in(copy)
    added = after.pop("method=lora_too task=boolq")
    assert after == before
    assert added == before["method=lora task=boolq"]  # a name moves no number


@pytest.mark.parametrize(
    ("owner", "name", "uses"),
    [
        (Lora, "version", lambda method, task: method.startswith("lora")),
        (accuracy, "version", lambda method, task: task in ("boolq", "copa")),
        (f1_em, "version", lambda method, task: task == "squad"),
        (Classification, "family_version", lambda method, task: task == "boolq"),
        (TrainerConfig, "version", lambda method, task: True),
        (identity.encoding, "VERSION", lambda method, task: True),
        (identity.splits, "VERSION", lambda method, task: True),
    ],
)
def test_a_raised_version_changes_the_keys_of_those_who_use_it(monkeypatch, owner, name, uses):
    asked = [
        (method, task)
        for method in ("lora", "lora_red", "pedro", "red")
        for task in ("boolq", "copa", "squad")
    ]
    settings = {one: settings_of([f"method={one[0]}", f"task={one[1]}"]) for one in asked}
    before = {one: run_key(found) for one, found in settings.items()}
    monkeypatch.setattr(owner, name, 2)
    moved = {one for one, found in settings.items() if run_key(found) != before[one]}
    assert moved == {one for one in asked if uses(*one)}


@pytest.mark.parametrize("name", ["name", "batch_size"])
def test_settings_without_effect_are_not_in_the_key(name):
    settings = settings_of([])
    other = {"name": "other", "batch_size": 7}[name]
    changed = replace(settings, evaluation=replace(settings.evaluation, **{name: other}))
    assert run_key(changed) == run_key(settings)


def test_a_run_begins_under_its_key_whatever_its_names_hold(tmp_path: Path) -> None:
    settings = settings_of(["method=lora", "task=copa", "backbone.name=my--model"])
    names = {"method": "lora", "task": "copa", "backbone": "my--model"}
    path = records.record_path(tmp_path, settings.suite, **names, key=run_key(settings), seed=3)
    record = identity.begun(settings, 3, path, now())
    assert (record.key, record.stem) == (run_key(settings), path.stem)


def test_the_rate_in_force_is_in_the_key_whoever_names_it():
    rate = settings_of(["method=lora", "method.lr=0.003"])
    assert run_key(settings_of(["method=lora", "trainer.lr=0.003"])) == run_key(rate)
    assert run_key(settings_of(["method=lora", "trainer.lr=0.004"])) != run_key(rate)


def test_the_division_that_official_rows_choose_is_in_the_key():
    """Under `by_size` they decide which rows dev has; else they move nothing but the batch size."""

    def key(rule: str, rows: str) -> str:
        words = ["task=rte", f"task.split_rule={rule}", f"task.official_rows=[{rows},277]"]
        return run_key(settings_of([*words, "trainer.batch_size=8"]))

    assert key("by_size", "2490") == key("by_size", "9999") != key("by_size", "20000")
    assert key("halves", "2490") == key("halves", "20000")


def test_every_version_in_use_is_named_and_a_whole_number():
    names = set()
    for task in options("task"):
        source = (
            "data=hub" if task in ("mnli", "qqp", "mrpc", "cola", "stsb", "e2e") else "data=micro"
        )
        found = versions(settings_of([f"task={task}", source]))
        assert all(type(number) is int and number >= 1 for number in found.values())
        assert {"trainer", "encoding", "splits", "method.Pedro", "family.Llama"} <= set(found)
        assert any(name.startswith("metric.") for name in found), task
        names |= set(found)
    assert {"metric.nist", "metric.pearson", "metric.matthews", "data.HubSource"} <= names


@dataclass(frozen=True, kw_only=True)
class WithMore(EvaluationConfig):
    more: int = later(4, neutral=0)


def test_a_later_setting_leaves_the_key_of_what_was_before():
    settings = settings_of([])

    def parts(more):
        evaluation = WithMore(name="x", more=more)
        return key_parts(replace(settings, evaluation=evaluation))["evaluation"]

    assert "more" not in parts(0)
    assert parts(4)["more"] == 4  # its own default is not what was before
    assert WithMore(name="x").more == 4
