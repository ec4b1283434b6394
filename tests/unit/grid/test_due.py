"""Claims: which runs a command does, and that none stays held by a worker that cannot read its record."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import RecordError
from pedro_bench.grid import due
from pedro_bench.grid.due import Claims, digests, due_of
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.lease_holder import Holder
from pedro_bench.grid.leases import Leases
from pedro_bench.training.saved_folder import working_folder

RUN = "lora--sst2--tiny--0123456789ab--seed0"


def settings(folder: Path, **own: Any) -> Any:
    plain = {
        "results_dir": str(folder),
        "suite": "suite",
        "lease_seconds": 60.0,
        "output_dir": "none",
    }
    return SimpleNamespace(**{**plain, "rerun": False, "retry": False, **own})


def test_a_retry_does_what_failed_and_what_a_dead_worker_began(tmp_path: Path) -> None:
    """Of a retry that was killed, the record says `running`."""
    statuses = ["failed", "running", "finished", "missing"]
    planned = [(seed, tmp_path, status) for seed, status in enumerate(statuses)]
    due = due_of(settings(tmp_path, retry=True), planned)
    assert [seed for seed, _ in due] == [0, 1]


@pytest.mark.parametrize("status", ["failed", "finished", "running"])
def test_a_run_that_ended_since_the_command_began_is_not_done_again(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "suite" / f"{RUN}.json"
    path.parent.mkdir(parents=True)
    path.write_text("as the command found it")
    seen = digests([path, path.with_name("none.json")])
    assert list(seen) == [str(path.absolute())]
    monkeypatch.setattr(due, "status_of", lambda _: status)
    for content in ("as the command found it", "another worker's"):
        path.write_text(content)
        own = Claims(settings(tmp_path), [(0, path)], seen)
        is_over = content == "another worker's" and status != "running"
        assert [seed for seed, _ in own] == ([] if is_over else [0])


def test_a_record_that_cannot_be_read_leaves_no_run_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "suite" / f"{RUN}.json"
    own = Claims(settings(tmp_path), [(0, path)], {})
    assert next(own) == (0, path)
    assert own.current == path
    with monkeypatch.context() as broken:
        broken.setattr(due, "status_of", unreadable)
        with pytest.raises(RecordError, match="must be readable"):
            own.give_back()
    held = path.parent / "leases" / f"{RUN}.2"
    assert json.loads(held.read_text()[12:])["owner"] is None
    assert not Leases(path.parent, 60).is_held(RUN)


def unreadable(_: Path) -> str:
    raise RecordError("a record must be readable, got Input/output error.")


def test_a_run_that_ended_two_workers_of_a_grid_is_recorded_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings_of(
        [
            *("method=lora", "task=copa", "device=cpu", "seeds=[0]"),
            *(f"results_dir={tmp_path}", f"output_dir={tmp_path / 'outputs'}"),
        ]
    )
    grid = Grid.planned([((), own)])
    [(_, path)] = runs = list(grid.configurations[0].due)
    monkeypatch.setattr(Claims, "_on_loss", lambda _: None)  # nobody here leaves for it
    for _ in range(2):  # two workers take it and die
        assert next(Claims(own, runs, grid.seen, "a grid")) == runs[0]
        monkeypatch.setattr(Holder, "is_dead", lambda _: True)
    adapter = working_folder(own, path) / "adapter"  # one died after it had saved this
    adapter.mkdir(parents=True)
    assert list(Claims(own, runs, grid.seen, "a grid")) == []
    assert not adapter.exists()
    record = records.read(path)
    assert record.status == "failed"
    assert "got 2 workers that died in this one" in str(record.error)
    assert (record.seed, record.method, record.task) == (0, "lora", "copa")
    again = Grid.planned([((), replace(own, retry=True))])
    assert list(Claims(own, runs, again.seen, "another")) == runs  # a retry counts anew


def test_a_file_in_the_place_of_a_folder_holds_no_record(tmp_path: Path) -> None:
    """What is wrong is said once a run is taken."""
    (tmp_path / "runs").write_text("in the way")
    assert digests([tmp_path / "runs" / "main" / f"{RUN}.json"]) == {}
