"""Workers side by side: the bits of a run do not depend on how many there are or were killed."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.training.saved_folder import steps_saved
from tests.integration.grids import arguments, finish, found, start, write_sst2
from tests.integration.test_resume import files_of

LEAST_KILLS = 5


def overrides_of(tiny: Path, data: Path, workers: int) -> list[str]:
    own = arguments(tiny, data, "trainer.checkpoint_every_steps=1", f"workers={workers}")
    own.remove("seeds=[0]")
    return [*own, "seeds=[0,1,2]"]


def assert_same_bits(first: Path, second: Path, number: int) -> None:
    found = [records.find(folder / "results") for folder in (first, second)]
    assert [path.name for path in found[0]] == [path.name for path in found[1]]
    assert len(found[0]) == number
    for one, other in zip(*found, strict=True):
        assert records.read(one).status == "finished"
        assert records.comparable(records.read(one)) == records.comparable(records.read(other))
    assert files_of(first) == files_of(second)


def run_in(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    folder.mkdir()
    return start(folder, *overrides)


@pytest.mark.timeout(900)
def test_seeds_of_one_configuration_side_by_side(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    data = write_sst2(tmp_path / "data")
    threads = []
    for workers in (1, 2):
        process = run_in(
            tmp_path / f"of{workers}", *overrides_of(tiny_folders["llama"], data, workers)
        )
        code, output, errors = finish(process)
        assert code == 0, errors
        threads.append({run["environment"]["threads"] for run in json.loads(output)["runs"]})
        assert [run["seed"] for run in json.loads(output)["runs"]] == [0, 1, 2]
    assert threads[0] == threads[1]
    assert_same_bits(tmp_path / "of1", tmp_path / "of2", 3)
    assert not (tmp_path / "of2" / "outputs" / "multirun").exists()
    assert not list((tmp_path / "of2" / "results").rglob("leases"))


def kill_those_that_got_further(folder: Path, process: subprocess.Popen[str]) -> int:
    """Kill each worker at its run's first checkpoint, and whoever goes on at the next; return how many."""
    killed_at: dict[str, int] = {}
    kills = 0
    while process.poll() is None:
        for path in found(folder / "results", "leases/*"):
            with contextlib.suppress(OSError, ValueError):
                owner = json.loads(path.read_text()[12:])["owner"]
                steps = steps_saved(folder / "outputs" / "main" / path.stem)
                if owner and killed_at.get(path.stem, 0) < steps <= 2:
                    os.kill(owner["pid"], signal.SIGKILL)
                    killed_at[path.stem] = steps
                    kills += 1
        time.sleep(0.01)
    return kills


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    what="Workers are killed again and again",
    how="SIGKILL to every worker of a grid of two methods and three seeds whenever its run got further",
    lost="nothing: records, predictions and adapters are those of one worker that nobody disturbed",
)
def test_killed_workers_leave_the_same_bits(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    data = write_sst2(tmp_path / "data")
    for workers, name in ((1, "whole"), (2, "killed")):
        own = overrides_of(tiny_folders["llama"], data, workers)
        own.remove("method=lora")
        process = run_in(tmp_path / name, "-m", "method=lora,ia3", *own)
        kills = kill_those_that_got_further(tmp_path / name, process) if workers == 2 else 0
        code, _, errors = finish(process)
        assert code == 0, errors
    assert kills >= LEAST_KILLS
    assert_same_bits(tmp_path / "whole", tmp_path / "killed", 6)
