"""What a command says of its runs, from their records."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.__main__ import main
from pedro_bench.cli import run as cli_run
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.launch import Launcher
from pedro_bench.errors import BackboneError
from pedro_bench.grid import plan
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.runs.identity import begun


def test_a_retry_answers_for_the_runs_that_it_was_asked_for(tmp_path: Path) -> None:
    """Of two seeds one had failed and one was never begun: the multirun was said to have failed."""
    own = ["method=lora", "task=copa", "device=cpu", "seeds=[0,1]", f"results_dir={tmp_path}"]
    settings = settings_of([*own, "retry=true"])
    path = plan(settings)[0][1]
    found = begun(settings, 0, path, "now")
    records.write(found.changed(status="failed", error="memory must do, got none."), tmp_path)
    grid = Grid.planned([((), settings)])
    assert [seed for seed, _ in grid.configurations[0].due] == [0]
    assert cli_run._outcome(grid, 0)["errors"] == ["seed 0: memory must do, got none."]
    scores = {"test": {settings.task.main_metric: 80.0}}
    records.write(found.changed(status="finished", metrics=scores), tmp_path)
    outcome = cli_run._outcome(grid, 0)
    assert (outcome["status"], outcome["errors"], len(outcome["runs"])) == ("finished", [], 1)


@pytest.mark.parametrize(
    ("form", "error"),
    [([], KeyboardInterrupt()), (["-m"], BackboneError("it must load, got none."))],
)
def test_a_command_that_ends_before_its_first_record_leaves_nothing(
    form: list[str],
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its empty folders stayed; one that was there before is not the command's to remove."""

    def run_seeds(_settings: Any, due: Iterator[Any], _check: Any) -> Iterator[Any]:
        next(due)
        seen.extend(path.name for path in tmp_path.rglob("*") if path.is_file())
        raise error
        yield

    seen: list[str] = []
    monkeypatch.setattr("pedro_bench.runs.runner.run_seeds", run_seeds)
    (tmp_path / "mine").mkdir()
    place = [f"results_dir={tmp_path}/mine/results", f"output_dir={tmp_path}/outputs"]
    code = main([*form, "method=lora", "task=copa", "device=cpu", "seeds=[0]", *place])
    assert code != 0
    assert len(seen) == 2, "a lease, and the note of whose the working folder is"
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("device", "pins"), [("cpu", False), ("auto", True), ("cuda", True), ("cuda:1", False)]
)
def test_workers_share_gpus_out_where_runs_take_one_of_them(
    device: str, pins: bool, tmp_path: Path
) -> None:
    """On two GPUs a third worker of the CPU was refused, and GPU 1 was not there for `cuda:1`."""
    own = ["method=lora", "task=copa", "device=cpu", f"results_dir={tmp_path}"]
    (one,) = Grid.planned([((), settings_of([*own, f"output_dir={tmp_path}/out"]))]).configurations
    kind = "cpu" if device == "cpu" else "cuda"
    given = replace(one, kind=kind, settings=replace(one.settings, device=device))
    grid = Grid([given], RecordSnapshot({}), tmp_path / "grid")
    cli_run._share(grid, Launcher([]), 3)
    assert Grid.shared(grid.folder)["pins_gpu"] == pins
    finished = Grid([replace(given, due=())], RecordSnapshot({}), tmp_path / "other")
    cli_run._share(finished, Launcher([]), 3)
    assert not Grid.shared(finished.folder)["pins_gpu"]


def test_a_multirun_ends_with_the_commands_that_its_experiment_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stood in `cli.plan` alone; a path in brackets is no markup."""
    job = {"overrides": [], "status": "finished", "errors": [], "runs": [], "median": {}}
    monkeypatch.setattr(cli_run, "worked_off", lambda *_: [job])
    assert cli_run.multirun(["+experiment=small_table2", "method=pedro", "data.root=."]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-3] == "1 job, 0 failed."
    assert all(one.startswith("Afterwards: python -m pedro_bench.cli.") for one in told[-2:])
    assert told[-1].endswith("'tasks=[boolean_expressions,causal_judgement]'")
