"""Faults, done for real to whole commands: nothing is lost, and one sentence says what happened."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.grid import plan
from pedro_bench.grid.lease_holder import Holder
from pedro_bench.training.saved_folder import read_folder
from tests.integration.grids import Forked, arguments, finish, found, write_sst2


@pytest.fixture
def overrides(tiny_folders: dict[str, Path], tmp_path: Path) -> list[str]:
    """Overrides of one quick run; results and working files lie in the test's folder."""
    return arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))


def newest(folder: Path, pattern: str) -> Path | None:
    return max(found(folder, pattern), default=None)


def wait_for(folder: Path, pattern: str, process: Forked) -> Path:
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        path = newest(folder, pattern)
        if path is not None:
            return path
        time.sleep(0.02)
    raise AssertionError(f"no {pattern}: {finish(process, 10)}")


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = records.find(folder / "results")
    return records.read(path).as_dict()


@pytest.mark.fault(
    what="SIGTERM; Ctrl-C; the signal before a cluster's time limit",
    how="sent to a training command between two of its checkpoints (SIGTERM, SIGINT, SIGUSR2)",
    lost="nothing: the step's state is saved, the run is given back, exit code 143, 130 or 140",
)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_saves_and_leaves(
    kind: signal.Signals, overrides: list[str], tmp_path: Path
) -> None:
    endless = [
        "trainer.max_steps=100000",
        "trainer.eval_every_steps=100000",
        "trainer.num_epochs=99999",
    ]
    process = Forked(tmp_path, *overrides, *endless, "trainer.checkpoint_every_steps=20")
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
    both = [Forked(tmp_path, *overrides, "lease_seconds=30") for _ in range(2)]
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
    code, _, errors = finish(Forked(tmp_path, *overrides))
    assert code == 0, errors
    assert records.read(path).status == "finished"
    assert path.with_name(f"{path.name}.damaged").read_text().endswith('"12')
    path.write_text(json.dumps({**json.loads(path.read_text()), "unknown": 1}))
    assert [status for _, _, status in plan(settings_of(overrides))] == ["missing"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder that a command mounts a file system at, where that is allowed."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    folder = tmp_path / "small"
    folder.mkdir()
    return folder


@pytest.mark.fault(
    what="Disk of the working files full",
    how="output_dir on a tmpfs of 64 KiB",
    lost="the run fails with the remedy in its record; nothing half-written stays",
)
def test_a_full_disk_of_working_files(overrides: list[str], small: Path, tmp_path: Path) -> None:
    full = Forked(tmp_path, *overrides, "output_dir=small", tmpfs="size=64k")
    code, output, errors = finish(full)
    assert code == 1, errors
    [run] = json.loads(output)["runs"]
    assert run["status"] == "failed"
    assert "No space left on device: free some space" in run["error"]
    assert "rror 28" not in run["error"] and "Errno" not in run["error"]
    assert "set output_dir to another disk" in run["error"]
    code, output, errors = finish(Forked(tmp_path, *overrides, "output_dir=outputs"))
    assert code == 0, errors
    assert json.loads(output)["runs"][0]["status"] == "finished"


@pytest.mark.fault(
    what="Disk of the records full",
    how="results_dir on a tmpfs of 8 KiB, full before the first step, and of 20 KiB, full after the last",
    lost="nothing: one sentence, exit code 2, the checkpoints stay, and with more room the run ends",
)
@pytest.mark.parametrize(("size", "steps"), [("8k", []), ("20k", [2, 4])])
def test_a_full_disk_of_records(
    size: str, steps: list[int], overrides: list[str], small: Path, tmp_path: Path
) -> None:
    full = Forked(tmp_path, *overrides, "results_dir=small", tmpfs=f"size={size}")
    code, _, errors = finish(full)
    assert code == 2, errors
    assert "must be writable, got No space left on device" in errors
    assert "Traceback" not in errors
    saved = found(tmp_path / "outputs", "checkpoint-*")
    assert [read_folder(path).state["step"] for path in saved] == steps
    code, output, errors = finish(Forked(tmp_path, *overrides))
    assert code == 0, errors
    assert json.loads(output)["runs"][0]["status"] == "finished"


@pytest.mark.fault(
    what="Read-only results",
    how="results_dir on a tmpfs mounted read-only",
    lost="nothing: refused in one sentence before the first step, exit code 2",
)
def test_read_only_results(overrides: list[str], small: Path, tmp_path: Path) -> None:
    code, _, errors = finish(Forked(tmp_path, *overrides, "results_dir=small", tmpfs="ro"))
    assert code == 2, errors
    assert errors.count("\n") == 1
    assert "results_dir must be a folder that can be written" in errors


@pytest.mark.fault(
    what="Out of memory in earnest",
    how="RLIMIT_DATA 500 MiB above what the imports took, 512 long rows in one pass",
    lost="the run fails and its record names the setting to change",
)
def test_real_memory_runs_out(overrides: list[str], tmp_path: Path) -> None:
    path = tmp_path / "data" / "sst2" / "train.jsonl"
    words = ["good film bad film " * 58, "bad film good film " * 58]
    rows = [{"sentence": f"{words[i % 2]} {i}", "label": i % 2} for i in range(600)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    large = [*overrides, "trainer.batch_size=512"]
    code, output, errors = finish(Forked(tmp_path, *large, mebibytes=500))
    assert code == 1, errors
    [run] = json.loads(output)["runs"]
    assert run["status"] == "failed"
    assert "training must fit into memory, got out of memory at step 1" in run["error"]
    assert "set trainer.micro_batch_size=256" in run["error"]
    assert run["error_type"] == "TrainingError"


@pytest.mark.fault(
    what="A worker that was only asleep",
    how="SIGSTOP for longer than its lease, then SIGCONT, while another takes its run",
    lost="nothing: it leaves the run to the other and shows the same record",
)
def test_a_sleeper_leaves_its_run_to_who_took_it(overrides: list[str], tmp_path: Path) -> None:
    slow = ["trainer.max_steps=300", "trainer.num_epochs=999", "trainer.checkpoint_every_steps=9"]
    both = [*overrides, *slow, "trainer.eval_every_steps=300", "lease_seconds=4"]
    sleeper = Forked(tmp_path, *both)
    wait_for(tmp_path / "outputs", "checkpoint-*", sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    taker = Forked(tmp_path, *both)
    wait_for(tmp_path / "results", "*.2", taker)
    sleeper.send_signal(signal.SIGCONT)
    ends = [finish(process) for process in (sleeper, taker)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "was taken over by another worker" in ends[0][2]
    assert json.loads(ends[0][1]) == json.loads(ends[1][1])
    assert not list((tmp_path / "results").rglob("leases"))


@pytest.mark.fault(
    what="A machine dies in the middle of a grid",
    how="a multirun meets the lease of a process of another machine, which shows no sign of life",
    lost="nothing: once the lease has lapsed the run is taken, by a command that was there all the time",
)
def test_a_multirun_takes_the_run_of_a_machine_that_died(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [(_, path, _)] = plan(settings_of(overrides))
    lease = path.parent / "leases" / f"{path.stem}.1"
    lease.parent.mkdir(parents=True)
    owner = vars(replace(Holder.this_process(), host="elsewhere"))
    lease.write_text(f"{0:012d}" + json.dumps({"owner": owner, "seconds": 6}) + "\n")
    code, output, errors = finish(Forked(tmp_path, "-m", *overrides, "lease_seconds=6"))
    assert code == 0, errors
    assert json.loads(output)["finished"] == 1
    assert records.read(path).status == "finished"
    assert not list((tmp_path / "results").rglob("leases"))


@pytest.mark.fault(
    what="A data-loader worker killed",
    how="a training command is searched for child processes",
    lost="nothing: there is none to kill, since batches are made in the training process",
)
def test_a_training_has_no_process_to_lose(overrides: list[str], tmp_path: Path) -> None:
    process = Forked(tmp_path, *overrides, "trainer.max_steps=2000", "trainer.num_epochs=9999")
    wait_for(tmp_path / "outputs", "checkpoint-*", process)
    children = [
        line
        for path in Path(f"/proc/{process.pid}/task").glob("*/children")
        for line in path.read_text(encoding="ascii").split()
    ]
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 128 + signal.SIGTERM
    assert children == []
