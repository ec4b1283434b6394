"""Hydra's launchers, each for real: jobs in processes of their own, one record each, one summary."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.cli.launching import is_installed, pin_gpu, visible_gpus
from pedro_bench.errors import ConfigError
from tests.integration.grids import (
    arguments,
    environment,
    finish,
    found,
    start,
    write_gated,
    write_sst2,
)

GRID = ["-m", "trainer.lr=1e30,1e-3", "trainer.max_steps=2", "trainer.eval_every_steps=1"]


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not is_installed(module),
        reason=f"{module} is not installed: pip install pedro_bench[launchers]",
    )


def check_grid(folder: Path, tiny: Path, *launcher: str, **environment: str) -> None:
    """Run a grid of one job that fails and one that does not; check summary and records."""
    overrides = arguments(tiny, write_sst2(folder / "data"))
    process = start(folder, *overrides, *GRID, *launcher, **environment)
    code, output, errors = finish(process)
    assert code == 1, errors
    said = json.loads(output)
    assert (said["finished"], said["failed"]) == (1, 1), said
    broken, well = said["jobs"]
    assert well["status"] == "finished"
    assert broken["errors"] == [f"seed 0: {broken['runs'][0]['error']}"]
    assert len(records.find(folder / "results")) == 2
    assert not list((folder / "results").rglob("*.busy"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_joblib_launcher")
def test_joblib(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    check_grid(tmp_path, tiny_folders["llama"], "hydra/launcher=processes")


TWO = [
    "-m",
    "method.r=2,4",
    "hydra/launcher=processes",
    "trainer.num_epochs=99999",
    "trainer.eval_every_steps=100000",
    "trainer.checkpoint_every_steps=5",
]


def two_jobs(tiny: Path, folder: Path, max_steps: int) -> subprocess.Popen[str]:
    """Start a multirun of two jobs, each of which stands still after step 6 until `open_gate`."""
    gated = write_gated(folder / "gate")
    own = [*arguments(tiny, write_sst2(folder / "data")), *TWO, f"trainer.max_steps={max_steps}"]
    own.remove("method=lora")
    return start(folder, *gated, *own)


def open_gate(folder: Path) -> None:
    (folder / "gate" / "go").touch()


def at_work(folder: Path, process: subprocess.Popen[str]) -> list[int]:
    """Wait until two processes train and have a checkpoint; return their numbers."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        saved = {path.parents[1] for path in found(folder / "outputs", "checkpoint-*/*.json")}
        try:
            leases = [path.read_text() for path in found(folder / "results", "leases/*")]
            owners = [json.loads(text[12:])["owner"]["pid"] for text in leases]
        except (FileNotFoundError, ValueError):  # given back, or not yet whole
            owners = []
        if len(saved) == 2 == len(owners):
            return owners
        time.sleep(0.05)
    raise AssertionError(finish(process, 10))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="A job's process dies, and joblib ends all the others",
    how="SIGKILL to one of two processes of a multirun in training",
    lost="nothing: both jobs are launched again, each alone, and go on at their checkpoints",
)
def test_a_killed_process_costs_a_multirun_nothing(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_jobs(tiny_folders["llama"], tmp_path, 20)
    os.kill(at_work(tmp_path, process)[0], signal.SIGKILL)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert json.loads(output)["finished"] == 2
    assert not list((tmp_path / "results").rglob("leases"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="Ctrl-C or SIGTERM to a multirun in processes",
    how="sent to a command whose two processes train",
    lost="nothing: it waits for both to save, and gives both runs back",
)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_multirun_lets_its_processes_save(
    kind: signal.Signals, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_jobs(tiny_folders["llama"], tmp_path, 100_000)
    numbers = at_work(tmp_path, process)
    process.send_signal(kind)
    open_gate(tmp_path)
    code, _, errors = finish(process)
    assert code == 128 + kind, errors
    assert "the same command goes on where this one stopped" in errors
    taken = [int((tmp_path / "gate" / f"step-{number}").read_text()) for number in numbers]
    newest = {
        path.parent: int(path.name[-8:]) for path in found(tmp_path / "outputs", "checkpoint-*")
    }
    assert sorted(newest.values()) == sorted(taken)  # the step that was being taken, of either
    for path in (tmp_path / "results").rglob("leases/*"):
        assert json.loads(path.read_text()[12:])["owner"] is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="One job of a multirun is asked to leave",
    how="SIGTERM to one of two processes in training",
    lost="nothing: it saves and is told as interrupted, the other job goes on to its end",
)
def test_a_job_that_is_asked_to_leave_stops_no_other(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_jobs(tiny_folders["llama"], tmp_path, 20)
    os.kill(at_work(tmp_path, process)[0], signal.SIGTERM)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 1, errors
    jobs = {job["status"]: job for job in json.loads(output)["jobs"]}
    assert jobs["failed"]["errors"] == [
        "interrupted, SIGTERM came. The same command goes on there."
    ]
    assert [run["status"] for run in jobs["failed"]["runs"]] == ["running"]
    assert [run["status"] for run in jobs["finished"]["runs"]] == ["finished"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_submitit_launcher")
def test_submitit_with_its_local_executor(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    check_grid(tmp_path, tiny_folders["llama"], "hydra/launcher=slurm_local")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs("hydra_ray_launcher")
def test_a_ray_cluster_of_two_nodes(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # Ray's sockets need a short path
        own = {"RAY_TMPDIR": place, "RAY_DISABLE_IMPORT_WARNING": "1"}
        address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", "--min-worker-port=0", "--max-worker-port=0"]
        with (
            node(tmp_path / "head.log", *head, "--include-dashboard=false", **own),
            node(tmp_path / "second.log", f"--address={address}", **own),
        ):
            check_grid(
                tmp_path,
                tiny_folders["llama"],
                "hydra/launcher=ray_cluster",
                f"hydra.launcher.ray.init.address='{address}'",
                "hydra.launcher.ray.remote.num_gpus=0",
                **own,
            )


@contextmanager
def node(log: Path, *words: str, **own: str) -> Iterator[None]:
    """Run a node of a Ray cluster with one processor for the time of a `with` block."""
    command = [Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1", *words]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment(**own))
    try:
        deadline = time.monotonic() + 900
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_an_absent_launcher_is_one_sentence(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    if is_installed("hydra_ray_launcher"):
        pytest.skip("hydra_ray_launcher is installed")
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    code, _, errors = finish(start(tmp_path, *overrides, *GRID, "hydra/launcher=ray_cluster"))
    assert code == 2
    assert errors.startswith(
        "error: hydra/launcher=ray_cluster must have the package hydra-ray-launcher"
    )
    assert not (tmp_path / "outputs").exists()


def test_every_process_of_a_machine_gets_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever command it is of: every process here has another sweep's folder."""
    script = (
        "import os, sys; from pathlib import Path; from pedro_bench.cli.launching import pin_gpu; "
        "pin_gpu(Path(sys.argv[1])); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); "
        "sys.stdin.read()"
    )
    gpus = ("MIG-4d/3/0", "5")

    def started(folder: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / folder)],
            env=environment(CUDA_VISIBLE_DEVICES=",".join(gpus), TMPDIR=str(tmp_path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def given(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    processes: list[subprocess.Popen[str]] = []
    try:
        for gpu in gpus:
            processes.append(started(f"for {gpu[:3]}"))
            assert given(processes[-1]) == gpu
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(gpus))
        with pytest.raises(
            ConfigError, match=r"n_jobs must be at most .*got 2 GPUs.*set hydra.launcher.n_jobs=2"
        ):
            pin_gpu(tmp_path / "third")
        processes[0].kill()
        processes[0].wait()
        processes.append(
            started("fourth")
        )  # joblib replaces a process that grew large by a new one
        assert given(processes[-1]) == gpus[0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # a cluster has pinned one already
    pin_gpu(tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_without_a_folder_for_temporary_files_the_sweep_shares_its_gpus_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    pin_gpu(tmp_path / "sweep")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert list((tmp_path / "sweep" / "leases").iterdir())


def test_gpus_of_a_machine_are_counted_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By CUDA's numbers, which begin at 0 whatever the machine calls those that a container has."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia2", "nvidia3", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus(tmp_path) == ["0", "1", "2"]
    shutil.rmtree(tmp_path)
    assert visible_gpus(tmp_path) == []
