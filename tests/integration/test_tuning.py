"""`cli.tune` on a tiny backbone: trials are records, its table of rates is read, nothing is run twice."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.sweep import Combination
from pedro_bench.cli.options import outside_options
from pedro_bench.cli.tune import tune
from pedro_bench.errors import ConfigError, TrainingError
from tests.integration.grids import arguments, write_sst2


@pytest.fixture
def given(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    own = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"), "workers=1")
    own = [one for one in own if not one.startswith(("method=", "seeds=", "trainer.lr="))]
    search = ["trials=3", "lr=[1e-4,1e-1]", "seeds=[0,1]", "rates=mine", "rates_dir=own/rates"]
    return [*own, "method=lora,bitfit", *search]


def test_a_search_compares_dev_losses_alone(given: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"must be loss, .* add trainer\.metric_for_best_model=loss"
    ):
        tune([*given, "trainer.metric_for_best_model=main_metric"])
    assert not Path("results").exists()


def test_a_table_that_cannot_be_extended_is_refused_before_the_search(given: list[str]) -> None:
    Path("own/rates").mkdir(parents=True)
    Path("own/rates/mine.yaml").write_text("[{for: {method: lora}, set: {method.lr: 0.5}}]\n")
    with pytest.raises(ConfigError, match="must each begin a line"):
        tune(given)
    assert not Path("results").exists()


@pytest.mark.timeout(600)
def test_rates_are_found_recorded_and_used(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["method"] for one in told["methods"]] == ["lora", "bitfit"]
    paths = records.find("results")
    assert len(paths) == 2 * (3 + 2)
    assert {path.parent.name for path in paths} == {"tune_mine"}
    known = [records.read(path) for path in paths]
    for one in told["methods"]:
        own = [run for run in known if run.method == one["method"]]
        assert [trial["values"]["method.lr"] for trial in one["trials"]] == [1e-4, 3.2e-3, 1e-1]
        for trial in one["trials"]:
            losses = {
                str(run.seed): run.metrics["dev"]["loss"]
                for run in own
                if run.config["method"]["lr"] == trial["values"]["method.lr"]
            }
            assert trial["dev_losses"] == {"sst2": losses}
        whole = [trial for trial in one["trials"] if len(trial["dev_losses"]["sst2"]) == 2]
        assert one["chosen"] == min(whole, key=lambda trial: trial["merit"])["values"]
    with outside_options(["--config-dir", "own"]):
        plain = [
            one
            for one in given
            if one.partition("=")[0] not in ("trials", "lr", "rates", "rates_dir")
        ]
        plain[plain.index("method=lora,bitfit")] = "method=bitfit"
        settings = settings_of([*plain, "trainer.rates=mine"])
    assert settings.method.lr == told["methods"][1]["chosen"]["method.lr"]
    text = Path("own/rates/mine.yaml").read_text()
    assert "# Found on dev data by\n#   python -m pedro_bench.cli.tune task=sst2" in text
    assert '"trials": 3' in text
    shutil.rmtree(paths[0].parent / "predictions")  # which a search does not read
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert tune([*given, "per=task"]) == 0
    assert {path: path.stat().st_mtime_ns for path in records.find("results")} == before
    assert '"task": "sst2"' in Path("own/rates/mine.yaml").read_text()
    assert tune([*given, "halving=false"]) == 0  # each method's third trial lacks its second seed
    after = {path: path.stat().st_mtime_ns for path in records.find("results")}
    assert len(after) == 2 * 3 * 2
    assert after.items() >= before.items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rates=null", r"rates must name the table to write, got nothing"),
        ("trials=1", r"trials must be a whole number of at least 2 or null, got 1\."),
        ("lr=[1e-4]", r"lr must be two rates or more, such as"),
        ("lr=[1e-4,1e-3,1e-2]", r"trials must be left out where lr .*, got trials=3 and 3 rates\."),
        ("lr=[1e-1,1e-4]", r"lr must be two rates above 0, the lower one first"),
        ("per=seed", r"per must be one of the known words, got 'seed'"),
        ("method.r=4,8", r"method=lora task=sst2 must stand once in what is tuned"),
        ("retry=true", r"retry must be false in a search, .* got true: leave it out"),
        ("fail_fast=true", r"fail_fast must be false in a search, .* got true: leave it out"),
        ("suite=mine", r"suite must be left out in a search, .* rates=NAME says"),
        ("method.lr=0.1", r"method\.lr must be left out in a search, .* lr=\[LOW,HIGH\] says"),
        ("trainer.lr=0.1", r"trainer\.lr must be left out in a search"),
        ("rates_dir=~no_such_user/x", r"rates_dir must be a path, got '~no_such_user/x'"),
        ("rates_dir=mine.txt/rates", r"rates_dir must be a folder, got .* is a file\."),
    ],
)
def test_bad_input_runs_and_writes_nothing(given: list[str], change: str, message: str) -> None:
    key = change.partition("=")[0]
    kept = [one for one in given if one.partition("=")[0] != key]
    if key == "method.r":
        kept[kept.index("method=lora,bitfit")] = "method=lora"
    Path("mine.txt").touch()
    with pytest.raises(ConfigError, match=message):
        tune([*kept, change])
    assert not Path("results").exists()
    assert not Path("own").exists()


def write_experiment(parts: list[dict[str, str]]) -> None:
    Path("own/experiment").mkdir(parents=True)
    grid = f"hydra: {{sweeper: {{params: {{}}}}}}\ngrid: {{parts: {json.dumps(parts)}}}\n"
    Path("own/experiment/mine.yaml").write_text(f"# @package _global_\n{grid}")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [{"method": "lora", "task": "sst2,cola"}, {"method": "bitfit", "task": "sst2"}],
            r"must have every task in what is tuned, got no method=bitfit with task=cola: choose",
        ),
        (
            [{"method": "lora", "backbone.name": "a"}, {"method": "bitfit", "backbone.name": "b"}],
            r"^backbone must be the same for all methods and tasks of a search, got a and b: choose",
        ),
        (
            [{"method": "lora", "seeds": "[0]"}, {"method": "bitfit", "seeds": "[1, 2]"}],
            r"^seeds must be the same for all .*, got \[0\] and \[1, 2\]: choose",
        ),
    ],
)
def test_parts_of_an_experiment_that_no_one_search_can_hold_are_refused(
    given: list[str], parts: list[dict[str, str]], message: str
) -> None:
    keys = {"method", *(key for part in parts for key in part)}
    kept = [one for one in given if one.partition("=")[0] not in keys]
    write_experiment(parts)
    with (
        outside_options(["--config-dir", "own"]),
        pytest.raises(ConfigError, match=message),
    ):
        tune([*kept, "+experiment=mine"])
    assert not Path("results").exists()


def finished(seed: int, loss: float) -> dict[str, Any]:
    return {"seed": seed, "status": "finished", "metrics": {"dev": {"loss": loss}}}


def failed(kind: str | None) -> list[dict[str, Any]]:
    return [{"seed": n, "status": "failed", "error": "no", "error_type": kind} for n in range(2)]


def job(one: Combination, *runs: dict[str, Any], errors: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `worked_off` says of one combination."""
    return {"overrides": list(one.overrides), "runs": list(runs), "errors": list(errors)}


def replace_runs(
    monkeypatch: pytest.MonkeyPatch, jobs: Callable[[Combination], dict[str, Any]]
) -> list[Combination]:
    """Let nothing be trained; return the list that takes what would have been."""
    asked: list[Combination] = []

    def worked_off(due: Sequence[Combination], _: Sequence[str]) -> list[dict[str, Any]]:
        asked.extend(due)
        return [jobs(one) for one in due]

    monkeypatch.setattr("pedro_bench.cli.trials.worked_off", worked_off)
    return asked


def test_trials_have_the_size_of_a_budget_and_the_switches_that_were_typed(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace_runs(
        monkeypatch,
        lambda one: job(
            one, *(finished(seed, one.settings.method.lr) for seed in one.settings.seeds)
        ),
    )
    given[given.index("method=lora,bitfit")] = "method=lora"
    assert tune([*given, "method.budget=2000", "keep_checkpoints=true", "meeting_seconds=5"]) == 0
    assert len(asked) == 3 + 2
    for one in asked:
        assert one.settings.resolved_config["budget"]["asked"] == 2000
        assert (one.settings.keep_checkpoints, one.settings.meeting_seconds) == (True, 5)


@pytest.mark.parametrize(
    ("unended", "reason"),
    [
        (job, "interrupted, SIGTERM came"),
        (lambda one, **own: job(one, {"seed": 0, "status": "running"}, **own), "2 of 2 seeds"),
        (lambda one, **own: job(one, *failed("TrainingError"), **own), "must fit into memory"),
    ],
)
def test_no_rate_is_chosen_among_some_of_the_trials(
    unended: Any, reason: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best rate's run had no worker left: the next best was written."""
    replace_runs(
        monkeypatch,
        lambda one: (
            unended(one, errors=[f"{reason}."])
            if one.settings.method.lr == 1e-4
            else job(one, *(finished(seed, 1.0) for seed in one.settings.seeds))
        ),
    )
    expected = rf"outcome of every trial, got 2 runs without one \({reason}\): no rate is written"
    with pytest.raises(TrainingError, match=expected):
        tune(given)
    assert not Path("own").exists()


def test_rates_may_be_given_one_by_one(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ladder such as 1, 3, 10 has no even distances; trials of its rates that exist are used."""
    asked = replace_runs(
        monkeypatch,
        lambda one: job(
            one, *(finished(seed, one.settings.method.lr) for seed in one.settings.seeds)
        ),
    )
    rest = [one for one in given if not one.startswith(("lr=", "trials="))]
    assert tune([*rest, "lr=[1e-3,3e-3,1e-2]"]) == 0
    assert {one.settings.method.lr for one in asked} == {1e-3, 3e-3, 1e-2}
    text = Path("own/rates/mine.yaml").read_text()
    assert '"trials": 3, "lr": [0.001, 0.01]' in text
    with pytest.raises(ConfigError, match=r"lr must be rates that rise, got 0\.003, 0\.001, 0\.01"):
        tune([*rest, "lr=[3e-3,1e-3,1e-2]"])
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["DivergenceError", None])
def test_a_rate_at_which_training_diverges_is_the_worst(
    kind: str | None, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records from before the kind of an error was told count so too."""
    replace_runs(
        monkeypatch,
        lambda one: (
            job(one, *failed(kind)[: len(one.settings.seeds)])
            if one.settings.method.lr == 1e-4
            else job(one, *(finished(seed, 1.0) for seed in one.settings.seeds))
        ),
    )
    assert tune(given) == 0
    assert "method.lr: 1.0e-4" not in Path("own/rates/mine.yaml").read_text()


def test_a_trial_that_diverged_is_told_and_not_run_again(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [one for one in given if not one.startswith(("lr=", "trials=", "method=", "seeds="))]
    own += ["method=lora", "lr=[1e-3,1e30]", "trials=2", "seeds=[0]"]
    assert tune(own) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one.partition(": ")[0] for one in told["failures"]] == [
        "method=lora task=sst2 method.lr=1e+30"
    ]
    before = {path: path.read_bytes() for path in records.find("results")}
    assert len(before) == 2
    assert tune(own) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert {path: path.read_bytes() for path in records.find("results")} == before


def test_why_a_trial_failed_is_told(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcome(one: Combination) -> dict[str, Any]:
        failed = {"seed": 0, "status": "failed", "error": "the loss must stay finite."}
        if one.settings.method.lr == 0.1:
            return job(one, failed, errors=["seed 0: the loss must stay finite."])
        return job(one, *(finished(seed, 1.0) for seed in one.settings.seeds))

    replace_runs(monkeypatch, outcome)
    given[given.index("method=lora,bitfit")] = "method=lora"
    said = "method=lora task=sst2 method.lr=0.1: seed 0: the loss must stay finite."
    assert tune(given) == 0
    assert json.loads(capsys.readouterr().out)["failures"] == [said]
    assert tune([*given, "output=text"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert f"failed: {said}" in told
    assert told[-1] == (
        "rates in own/rates/mine.yaml; trainer.rates=mine reads them with --config-dir own"
    )
    with outside_options(["--config-dir", "own"]):
        assert tune([*given, "output=text"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "rates in own/rates/mine.yaml"
    elsewhere = [one for one in given if not one.startswith("rates_dir=")]
    assert tune([*elsewhere, "rates_dir=other", "output=text"]) == 0
    assert capsys.readouterr().out.endswith("with --config-dir DIR, from DIR/rates\n")


def test_a_search_is_one_process(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}
    for name, value in {**own, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="a search must be one process, got WORLD_SIZE=2: start"):
        tune(given)


def test_a_rate_says_which_trainer_it_was_tried_with(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of an experiment may have trainers of their own."""
    other = {"trainer.name": "other", "trainer.max_steps": "null", "trainer.num_epochs": "2"}
    parts = [{"method": "lora", "trainer.max_steps": "7"}, {"method": "bitfit", **other}]
    write_experiment(parts)
    replace_runs(monkeypatch, lambda one: job(one, finished(0, 1.0)))
    typed = ("method", "seeds", "trainer.max_steps", "trainer.num_epochs")
    kept = [one for one in given if one.partition("=")[0] not in typed]
    with outside_options(["--config-dir", "own"]):
        assert tune([*kept, "seeds=[0]", "+experiment=mine"]) == 0
    text = Path("own/rates/mine.yaml").read_text()
    trainers = re.findall(r'"trainer": "(\w+)"', text)
    assert (len(trainers), trainers[1]) == (2, "other")
    assert trainers[0] != "other"
    assert re.findall(r'"max_steps": (\w+)', text) == ["7", "null"]
    assert re.findall(r'"num_epochs": (\w+)', text)[1] == "2"
