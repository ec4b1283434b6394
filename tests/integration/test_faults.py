"""Faults, done for real to whole commands: nothing is lost, and one sentence says what happened."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.compose import settings_of
from pedro_bench.experiment import plan
from pedro_bench.training.saved_folder import read_folder
from tests.integration.grids import arguments, finish, start, write_sst2

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def overrides(tiny_folders: dict[str, Path], tmp_path: Path) -> list[str]:
    """Overrides of one quick run; results and working files lie in the test's folder."""
    return arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))


def newest(folder: Path, pattern: str) -> Path | None:
    return max(folder.rglob(pattern), default=None)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        found = newest(folder, pattern)
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {pattern}: {finish(process, 10)}")


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = records.find(folder / "results")
    return records.read(path).as_dict()


@pytest.mark.fault(
    what="SIGTERM; Ctrl-C",
    how="sent to a training command between two of its checkpoints",
    lost="nothing: the step's state is saved, the run is given back, exit code 143 or 130",
)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    kind: signal.Signals, overrides: list[str], tmp_path: Path
) -> None:
    endless = [
        "trainer.max_steps=100000",
        "trainer.eval_every_steps=100000",
        "trainer.num_epochs=99999",
    ]
    process = start(tmp_path, *overrides, *endless, "trainer.checkpoint_every_steps=20")
    before = wait_for(tmp_path / "outputs", "checkpoint-*", process)
    process.send_signal(kind)
    sent = time.monotonic()
    code, output, errors = finish(process)
    took = time.monotonic() - sent
    assert code == 128 + kind, errors
    assert output == ""
    assert "the same command goes on where this one stopped" in errors
    assert "Traceback" not in errors
    # Ten seconds of a machine of one's own; here other work may share the processors.
    assert took < 10 * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))
    last = newest(tmp_path / "outputs", "checkpoint-*")
    assert last is not None and last >= before
    step = read_folder(last).state["step"]
    assert int(last.name.rpartition("-")[2]) == step
    assert only_record(tmp_path)["status"] == "running"


@pytest.mark.fault(
    what="Two processes started on the same run",
    how="two commands at the same time in one folder",
    lost="nothing: one trains, the other waits and shows the same record",
)
def test_two_processes_on_one_run(overrides: list[str], tmp_path: Path) -> None:
    both = [start(tmp_path, *overrides, "lease_seconds=30") for _ in range(2)]
    ends = [finish(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    first, second = (json.loads(output) for _, output, _ in ends)
    assert first == second
    assert first["runs"][0]["status"] == "finished"
    assert not list((tmp_path / "results").rglob("leases"))


@pytest.mark.fault(
    what="A record half-written or changed by another tool",
    how="the record's file is cut in the middle, then holds another record's fields",
    lost="nothing: the file is set aside as .damaged and the run is done",
)
def test_a_damaged_record_is_set_aside(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [(_, path, status)] = plan(settings_of(overrides))
    assert status == "missing"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1, "key": "12')
    assert [status for _, _, status in plan(settings_of(overrides))] == ["missing"]
    code, _, errors = finish(start(tmp_path, *overrides))
    assert code == 0, errors
    assert records.read(path).status == "finished"
    assert path.with_name(f"{path.name}.damaged").read_text().endswith('"12')
    path.write_text(json.dumps({**json.loads(path.read_text()), "unknown": 1}))
    assert [status for _, _, status in plan(settings_of(overrides))] == ["missing"]


def mounted(options: str) -> list[str]:
    """Return what starts a command with an own tmpfs at ./small; skips where that is not allowed."""
    before = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o {options} tmpfs small && exec "$@"',
        "-",
    ]
    return before


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    tried = subprocess.run(
        [*mounted("size=1m"), "true"], cwd=tmp_path, capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    return folder


@pytest.mark.fault(
    what="Disk of the working files full",
    how="output_dir on a tmpfs of 64 KiB",
    lost="the run fails with the remedy in its record; nothing half-written stays",
)
def test_a_full_disk_of_working_files(overrides: list[str], small: Path, tmp_path: Path) -> None:
    full = start(tmp_path, *overrides, "output_dir=small", before=mounted("size=64k"))
    code, output, errors = finish(full)
    assert code == 1, errors
    [run] = json.loads(output)["runs"]
    assert run["status"] == "failed"
    assert "No space left" in run["error"]
    assert "set output_dir to another disk" in run["error"]
    code, output, errors = finish(start(tmp_path, *overrides, "output_dir=outputs"))
    assert code == 0, errors
    assert json.loads(output)["runs"][0]["status"] == "finished"


@pytest.mark.fault(
    what="Disk of the records full",
    how="results_dir on a tmpfs of 8 KiB",
    lost="nothing: one sentence, exit code 2, and the checkpoints stay",
)
def test_a_full_disk_of_records(overrides: list[str], small: Path, tmp_path: Path) -> None:
    full = start(tmp_path, *overrides, "results_dir=small", before=mounted("size=8k"))
    code, _, errors = finish(full)
    assert code == 2, errors
    assert "must be writable, got No space left on device" in errors
    assert "Traceback" not in errors


@pytest.mark.fault(
    what="Read-only results",
    how="results_dir on a tmpfs mounted read-only",
    lost="nothing: refused in one sentence before the first step, exit code 2",
)
def test_read_only_results(overrides: list[str], small: Path, tmp_path: Path) -> None:
    code, _, errors = finish(start(tmp_path, *overrides, "results_dir=small", before=mounted("ro")))
    assert code == 2, errors
    assert errors.count("\n") == 1
    assert "results_dir must be a folder that can be written" in errors
