"""Claims: which runs a worker gets to do, and that none stays held by one that cannot read its record."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import RecordError
from pedro_bench.grid import claims, snapshot
from pedro_bench.grid.claims import Claims
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.lease_holder import Holder
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.planning import SeedRun
from pedro_bench.grid.snapshot import RecordSnapshot
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


@pytest.mark.parametrize("status", ["failed", "finished", "running"])
def test_a_run_that_ended_since_the_command_began_is_not_done_again(
    status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "suite" / f"{RUN}.json"
    path.parent.mkdir(parents=True)
    path.write_text("as the command found it")
    before = RecordSnapshot.of([path, path.with_name("none.json")])
    assert list(before.digests) == [str(path.absolute())]
    for module in (claims, snapshot):
        monkeypatch.setattr(module, "status_of", lambda _: status)
    for content in ("as the command found it", "another worker's"):
        path.write_text(content)
        own = Claims(settings(tmp_path), [SeedRun(0, path)], before)
        is_over = content == "another worker's" and status != "running"
        assert [seed for seed, _ in own] == ([] if is_over else [0])


def test_a_record_that_cannot_be_read_leaves_no_run_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "suite" / f"{RUN}.json"
    own = Claims(settings(tmp_path), [SeedRun(0, path)], RecordSnapshot({}))
    assert next(own) == (0, path)
    assert own.current == path
    with monkeypatch.context() as broken:
        broken.setattr(claims, "status_of", unreadable)
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
    monkeypatch.setattr(claims, "_leave_the_run", lambda: None)  # nobody here leaves for it
    for _ in range(2):  # two workers take it and die
        assert next(Claims(own, runs, grid.snapshot, "a grid")) == runs[0]
        monkeypatch.setattr(Holder, "is_dead", lambda _: True)
    adapter = working_folder(own, path) / "adapter"  # one died after it had saved this
    adapter.mkdir(parents=True)
    assert list(Claims(own, runs, grid.snapshot, "a grid")) == []
    assert not adapter.exists()
    record = records.read(path)
    assert record.status == "failed"
    assert "got 2 workers that died in this one" in str(record.error)
    assert (record.seed, record.method, record.task) == (0, "lora", "copa")
    again = Grid.planned([((), replace(own, retry=True))])
    assert list(Claims(own, runs, again.snapshot, "another")) == runs  # a retry counts anew
