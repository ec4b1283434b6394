"""What lies in a run's working folder agrees with its record, and belongs to one results_dir at a time."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.grid import plan, run
from pedro_bench.grid.claims import Claims
from pedro_bench.grid.occupied import occupying
from pedro_bench.grid.planning import SeedRun
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs.saved import read_saved
from pedro_bench.training.saved_folder import working_folder


def begun(settings: Settings) -> tuple[int, Path, Claims]:
    """Take the only run of a configuration, as a worker does that goes on to train it."""
    [(seed, path, _)] = plan(settings)
    held = Claims(settings, [SeedRun(seed, path)], RecordSnapshot({}))
    assert list(occupying(settings, [next(held)])) == [(seed, path)]
    return seed, path, held


def test_a_failed_rerun_leaves_nothing_of_the_earlier_run(
    few_steps: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = few_steps()
    [(_, path, _)] = plan(settings)
    folder = working_folder(settings, path)
    run(settings)
    assert read_saved(folder).header["key"] == records.key_of(path)

    def fail(*_: Any, **__: Any) -> None:
        assert not (folder / "adapter").exists(), "the record says `running`"
        assert not records.predictions_path(path).exists()
        raise TrainingError("scoring must end, got an error of this test.")

    with monkeypatch.context() as broken:
        broken.setattr("pedro_bench.runs.runner.predict", fail)
        (record,) = run(replace(settings, rerun=True))
    assert (record["status"], record["predictions"]) == ("failed", None)
    assert not (folder / "adapter").exists()
    assert not records.predictions_path(path).exists()
    (again,) = run(replace(settings, retry=True))
    assert again["status"] == "finished"
    assert read_saved(path).header["key"] == again["key"]
    assert {one.name for one in folder.iterdir()} == {"adapter"}


def test_one_results_dir_at_a_time_trains_in_a_working_folder(
    few_steps: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = few_steps()
    _, path, held = begun(settings)
    other = replace(settings, results_dir=str(tmp_path / "others"))
    rule = f"output_dir must be of one results_dir .*, where a command with results_dir='{tmp_path}"
    with pytest.raises(ConfigError, match=rule):
        run(other)
    assert not records.find(other.results_dir), "nothing is written"
    assert not list(Path(other.results_dir).rglob("leases"))
    held.give_back()
    (record,) = run(other)
    assert record["status"] == "finished"
    assert not list(working_folder(settings, path).glob("record-*"))


def test_the_folder_of_a_worker_that_died_is_free(
    few_steps: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = few_steps()
    seed, path, _held = begun(settings)
    monkeypatch.setattr("pedro_bench.grid.lease_holder.Holder.is_dead", lambda _: True)
    other = records.record_path(
        tmp_path / "others", path.parent.name, method="a", task="b", backbone="c", key="d", seed=0
    ).with_name(path.name)
    other.parent.mkdir(parents=True)
    assert list(occupying(settings, [(seed, other)])) == [(seed, other)]


def test_the_folder_of_a_worker_that_another_machine_lost_is_free(
    few_steps: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = few_steps()
    seed, path, _held = begun(settings)
    monkeypatch.setattr("pedro_bench.grid.lease_holder.socket.gethostname", lambda: "another")
    other = tmp_path / "others" / "runs" / path.parent.name / path.name
    other.parent.mkdir(parents=True)
    with pytest.raises(ConfigError, match="output_dir must be of one results_dir"):
        list(occupying(settings, [(seed, other)]))
    (lease,) = (path.parent / "leases").iterdir()
    before = lease.stat().st_mtime - settings.lease_seconds - 60
    os.utime(lease, (before, before))
    assert list(occupying(settings, [(seed, other)])) == [(seed, other)]


def test_a_run_of_another_results_dir_leaves_the_adapter_of_a_finished_one(
    few_steps: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = few_steps()
    [(_, path, _)] = plan(settings)
    run(settings)

    def fail(*_: Any, **__: Any) -> None:
        raise TrainingError("scoring must end, got an error of this test.")

    other = replace(settings, results_dir=str(tmp_path / "others"))
    with monkeypatch.context() as broken:
        broken.setattr("pedro_bench.runs.runner.predict", fail)
        (record,) = run(other)
    assert record["status"] == "failed"
    assert read_saved(path).header["key"] == records.key_of(path)
    assert records.predictions_path(path).exists()
