"""Processes: the record says why another failed; checkpoints of more or fewer start a run afresh."""

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.errors import TrainingError
from pedro_bench.grid.claims import Claims
from pedro_bench.grid.planning import SeedRun
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.records import RunRecord
from pedro_bench.runs import processes
from pedro_bench.runs.processes import REASON, made_ready, on_main, reasons_recorded
from pedro_bench.training.checkpoint import Checkpoint, CheckpointStore, Identity

KEY = "0123456789ab"


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    places = {"results_dir": str(tmp_path / "results"), "output_dir": str(tmp_path / "out")}
    return SimpleNamespace(**places, suite="suite", lease_seconds=60.0, rerun=False)


def write_record(settings: Any, status: str, error: str | None = None) -> Path:
    names = {"method": "lora", "task": "sst2", "backbone": "tiny", "data": "files"}
    found = RunRecord(
        **names,  # type: ignore[arg-type]
        key=KEY,
        status=status,
        suite="suite",
        seed=0,
        config={},
        main_metric="accuracy",
        started="now",
        error=error,
        metrics={"test": {"accuracy": 80.0}} if status == "finished" else {},
    )
    return records.write(found, settings.results_dir)


def fails_in(settings: Any, path: Path, error: Exception) -> None:
    claims = Claims(settings, [SeedRun(0, path)], RecordSnapshot({}))
    claims.current = path
    with pytest.raises(type(error)), reasons_recorded(settings, claims):
        raise error


def be_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a launcher of two processes sets, but for the rank."""
    known = {
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "29500",
    }
    for name, value in known.items():
        monkeypatch.setenv(name, value)


def folder_of(settings: Any, path: Path) -> Path:
    return Path(settings.output_dir) / "suite" / path.stem


def test_the_record_says_why_another_process_failed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_launched(monkeypatch)
    monkeypatch.setattr(processes, "SECONDS", 0.1)
    path = write_record(settings, "running")
    monkeypatch.setenv("RANK", "1")
    fails_in(settings, path, TrainingError("training must fit into memory, got\nnone."))
    write_record(settings, "failed", "RuntimeError: Connection closed by peer")
    monkeypatch.setenv("RANK", "0")
    fails_in(settings, path, RuntimeError("Connection closed by peer"))
    record = records.read(path)
    assert record.status == "failed"
    assert record.error == "in process 1, training must fit into memory, got none."
    assert not list(folder_of(settings, path).iterdir())


def test_a_main_process_that_knows_why_it_failed_is_believed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_launched(monkeypatch)
    monkeypatch.setattr(processes, "SECONDS", 0.1)
    path = write_record(settings, "failed", "of the main process")
    monkeypatch.setenv("RANK", "1")
    fails_in(settings, path, RuntimeError("Connection closed by peer"))  # it failed after it
    assert not folder_of(settings, path).exists()
    monkeypatch.setenv("RANK", "0")
    fails_in(settings, path, RuntimeError("of the main process"))
    assert records.read(path).error == "of the main process"


def test_one_process_alone_leaves_no_reason(settings: Any) -> None:
    path = write_record(settings, "running")
    fails_in(settings, path, RuntimeError("of this process"))
    assert not folder_of(settings, path).exists()


@pytest.mark.parametrize("num_processes", [1, 2])
def test_checkpoints_of_another_number_of_processes_start_the_run_afresh(
    num_processes: int, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that takes a run over may have other devices than the one that died."""
    path = (
        records.suite_folder(settings.results_dir, "suite") / f"lora--sst2--tiny--{KEY}--seed0.json"
    )
    folder = folder_of(settings, path)
    store = CheckpointStore(folder, Identity(KEY, 0, num_processes=num_processes))
    store.save(Checkpoint(20, 0, {}, {}))
    (folder / f"{REASON}1").write_text("of an earlier attempt")
    claims = Claims(settings, [SeedRun(0, path)], RecordSnapshot({}))
    with caplog.at_level(logging.WARNING):
        assert list(made_ready(settings, claims, claims)) == [(0, path)]
    assert [one.name for one in folder.iterdir()] == (["phase-0"] if num_processes == 1 else [])
    assert ("is of 2 processes, and these are 1: the run starts afresh" in caplog.text) == (
        num_processes == 2
    )


def test_checkpoints_of_another_run_are_left_to_be_refused(settings: Any) -> None:
    path = (
        records.suite_folder(settings.results_dir, "suite") / f"lora--sst2--tiny--{KEY}--seed0.json"
    )
    folder = folder_of(settings, path)
    store = CheckpointStore(folder, Identity("another", 0, num_processes=2))
    store.save(Checkpoint(20, 0, {}, {}))
    claims = Claims(settings, [SeedRun(0, path)], RecordSnapshot({}))
    assert list(made_ready(settings, claims, claims)) == [(0, path)]
    assert store.last_step() == 20


@pytest.mark.parametrize("before", ["finished", "running", None])
def test_a_rerun_starts_afresh_once_and_goes_on_with_whichever_worker(
    before: str | None, settings: Any
) -> None:
    """Of a run longer than its workers' time limit each began anew, and none came to its end."""
    settings.rerun = True
    path = write_record(settings, before or "running")
    if before is None:
        path.unlink()
    store = CheckpointStore(folder_of(settings, path), Identity(KEY, 0))

    def step_after_taking(snapshot: RecordSnapshot) -> int | None:
        claims = Claims(settings, [SeedRun(0, path)], snapshot)
        assert next(made_ready(settings, claims, claims)) == (0, path)
        claims.give_back()
        return store.last_step()

    snapshot = RecordSnapshot.of([path])
    for _ in range(2):  # the second of them did not come to write its record
        store.save(Checkpoint(20, 0, {}, {}))
        assert step_after_taking(snapshot) is None
    write_record(settings, "running", "by a worker of the command")
    store.save(Checkpoint(30, 0, {}, {}))
    assert step_after_taking(snapshot) == 30
    assert step_after_taking(RecordSnapshot.of([path])) is None  # another command with rerun=true


def test_what_the_main_process_raises_every_process_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    be_launched(monkeypatch)
    error, sent, calls = TrainingError("the disk must have room, got none."), list[Any](), [0, 0]

    def broadcast(value: Any) -> Any:
        if int(os.environ["RANK"]) == 0:
            sent.append(value)
        return sent[-1]

    def act() -> str:
        calls[int(os.environ["RANK"])] += 1
        if sent:
            raise error
        return "done"

    monkeypatch.setattr(processes, "agreed", broadcast)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert on_main(act) == "done"
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(TrainingError, match="the disk must have room"):
            on_main(act)
    assert calls == [2, 0]
