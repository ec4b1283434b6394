"""Planning: which runs a command does, and what is said of records that cannot be looked at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import RecordError
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.planning import PlannedRun, due_runs, seed_runs
from pedro_bench.grid.snapshot import RecordSnapshot

RUN = "lora--sst2--tiny--0123456789ab--seed0"
STATUSES = ("failed", "running", "finished", "missing")


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ({"retry": True}, [0, 1]),  # of a retry that was killed, the record says `running`
        ({"rerun": True}, [0, 1, 2, 3]),
        ({}, [0, 1, 3]),
    ],
)
def test_what_is_due(
    asked: dict[str, bool], due: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "has_predictions", lambda _: True)
    settings: Any = SimpleNamespace(**{"rerun": False, "retry": False, **asked})
    planned = [PlannedRun(seed, tmp_path, status) for seed, status in enumerate(STATUSES)]
    assert [run.seed for run in due_runs(settings, planned)] == due


def test_a_finished_run_without_its_predictions_is_due(tmp_path: Path) -> None:
    settings: Any = SimpleNamespace(rerun=False, retry=False)
    assert len(due_runs(settings, [PlannedRun(0, tmp_path / f"{RUN}.json", "finished")])) == 1


def test_a_file_in_the_place_of_a_folder_holds_no_record(tmp_path: Path) -> None:
    """What is wrong is said once a run is taken."""
    (tmp_path / "runs").write_text("in the way")
    assert RecordSnapshot.of([tmp_path / "runs" / "main" / f"{RUN}.json"]).digests == {}


def test_a_record_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """Such as a folder in its place: the command ended in a traceback."""
    places = [f"results_dir={tmp_path / 'results'}", f"output_dir={tmp_path / 'out'}"]
    settings = settings_of(["method=lora", "task=copa", "device=cpu", "seeds=[0]", *places])
    (run,) = seed_runs(settings)
    run.record.mkdir(parents=True)
    with pytest.raises(RecordError, match=rf"record {run.record} must be readable, got Is a dir"):
        Grid.planned([((), settings)])
