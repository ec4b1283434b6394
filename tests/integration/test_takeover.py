"""A worker whose run was taken over while it slept writes nothing more of it, wherever it wakes."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import grid, records
from pedro_bench.__main__ import main
from pedro_bench.cli import run as cli_run
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import TrainingError
from pedro_bench.grid import workers
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.lease_holder import Holder
from pedro_bench.grid.workers import work_on
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs import runner
from pedro_bench.training.interruption import Interrupted, interruption
from pedro_bench.training.tracking import NoTracking
from tests.integration.grids import arguments, write_sst2

FINISHED_BY_THE_OTHER = {"train_seconds": 1.0, "test_seconds": 1.0, "tokens_per_second": 7.0}


@pytest.fixture
def settings(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.chdir(tmp_path)
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    return settings_of([*overrides, "trainer.max_steps=2"])


def taken_over(path: Path, content: bytes) -> None:
    """Do what another worker does in the meantime: take the run, finish it, go."""
    held = max((path.parent / "leases").iterdir())
    owner = vars(replace(Holder.this_process(), host="elsewhere"))
    generation = int(held.suffix[1:]) + 1
    body = json.dumps({"owner": owner, "seconds": 60.0})
    held.with_suffix(f".{generation}").write_text(f"{0:012d}{body}\n")
    path.write_bytes(content)


def other_record(settings: Settings) -> tuple[Path, bytes]:
    """Run to the end and tidy up; return the record's path and what another worker would write."""
    grid.run(settings)
    [(_, path, _)] = grid.plan(settings)
    record = records.read(path).changed(timing=FINISHED_BY_THE_OTHER)
    records.write(record, settings.results_dir)
    content = path.read_bytes()
    path.unlink()
    records.predictions_path(path).unlink()
    return path, content


def sleeps_in(
    name: str, monkeypatch: pytest.MonkeyPatch, path: Path, content: bytes, *, fails: bool
) -> None:
    """Let a worker lose its run while it is in a function of the runner."""
    function: Callable[..., Any] = getattr(runner, name)

    def slept(*args: Any) -> Any:
        found = None if fails else function(*args)
        taken_over(path, content)
        if fails:
            raise TrainingError("its checkpoints must be there, got none.")
        return found

    monkeypatch.setattr(runner, name, slept)


@pytest.mark.fault(
    what="A worker asleep while it loads, scores or fails",
    how="another worker's lease and finished record appear in that moment",
    lost="nothing: it leaves the run to the other, whose record stays as it is",
)
@pytest.mark.parametrize(
    ("name", "fails"), [("prepare", False), ("predict", False), ("train_phases", True)]
)
def test_a_finished_record_of_another_worker_stays(
    name: str, fails: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = other_record(settings)
    if name == "predict":  # it takes named arguments
        whole = runner.predict
        monkeypatch.setattr(
            runner, name, lambda *a, **k: (whole(*a, **k), taken_over(path, content))[0]
        )
    else:
        sleeps_in(name, monkeypatch, path, content, fails=fails)
    planned = Grid.planned([((), settings)])
    work_on(planned, 0, waits=False)
    assert path.read_bytes() == content
    assert planned.records(0)[0]["timing"] == FINISHED_BY_THE_OTHER
    assert not records.predictions_path(path).exists()


@pytest.mark.parametrize("name", ["_operations", "_energy"])
def test_an_adapter_of_another_worker_stays(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker falls asleep after its predictions are written and before its adapter is."""
    path, content = other_record(settings)
    (adapter,) = Path(settings.output_dir).rglob("adapter")
    others = adapter.rename("others")
    function: Callable[..., Any] = getattr(runner, name)

    def slept(*args: Any) -> Any:
        found = function(*args)
        taken_over(path, content)
        others.rename(adapter)
        return found

    before = others.stat().st_ino
    monkeypatch.setattr(runner, name, slept)
    work_on(Grid.planned([((), settings)]), 0, waits=False)
    assert adapter.stat().st_ino == before
    assert path.read_bytes() == content


def test_of_several_processes_one_that_fails_ends_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stand in the middle of a step, so it cannot go on with the next seed."""

    def fails(*_: Any) -> None:
        raise MemoryError("of this process alone")

    monkeypatch.setattr(runner, "train_phases", fails)
    monkeypatch.setattr(runner, "is_one_of_several", lambda: os.environ.get("SEVERAL") == "yes")
    assert grid.run(settings)[0]["status"] == "failed"
    monkeypatch.setenv("SEVERAL", "yes")
    with pytest.raises(MemoryError):
        grid.run(settings)
    [(_, path, status)] = grid.plan(settings)
    assert status == "failed"
    assert records.read(path).error == "MemoryError: of this process alone"


def fails_always(calls: list[int]) -> Callable[..., None]:
    def fails(*_: Any) -> None:
        calls.append(1)
        raise TrainingError("its loss must be finite, got nan.")

    return fails


def test_a_signal_that_meets_a_takeover_ends_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loses_and_is_asked(run: Any) -> None:
        path = next(Path(settings.results_dir).rglob("*--seed0.json"))
        taken_over(path, path.read_bytes())
        interruption.ask("SIGTERM came.", saves=True, exit_code=143)
        raise TrainingError("its checkpoints must be there, got none.")

    monkeypatch.setattr(runner, "train_phases", loses_and_is_asked)
    with pytest.raises(Interrupted, match="SIGTERM came") as caught:
        work_on(Grid.planned([((), settings)]), 0, waits=False)
    assert caught.value.exit_code == 143


def test_a_multirun_does_no_run_again_that_ended_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker tried a failed run again, after this command had planned and before its job began."""
    calls: list[int] = []
    monkeypatch.setattr(runner, "train_phases", fails_always(calls))
    assert grid.run(settings)[0]["status"] == "failed"
    [(_, path, _)] = grid.plan(settings)
    tiny = Path(settings.resolved_config["backbone"]["path"])
    command = ["-m", *arguments(tiny, tmp_path / "data"), "trainer.max_steps=2", "retry=true"]
    assert main(command) == 1
    assert len(calls) == 2
    whole = cli_run.work

    def later(planned: Grid, *, waits: bool) -> None:
        again = records.read(path).changed(notes=["of another worker"])
        records.write(again, settings.results_dir)
        whole(planned, waits=waits)

    monkeypatch.setattr(cli_run, "work", later)
    assert main(command) == 1
    assert len(calls) == 2


@pytest.mark.parametrize("rank", ["0", "1"])
def test_only_the_main_process_opens_a_tracker(
    rank: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def looks(run: Any) -> None:
        found.append(run.settings.tracking.name)
        raise TrainingError("no training is needed, got one.")

    monkeypatch.setattr(runner, "train_phases", looks)
    monkeypatch.setattr(workers, "is_main", lambda: rank == "0")
    grid.run(replace(settings, tracking=NoTracking(name="service")))
    assert found == ["service" if rank == "0" else "none"]
