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
from tests.integration.grids import arguments, environment, finish, start, write_sst2

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
    code, output, errors = finish(process, 1000)
    assert code == 1, errors
    found = json.loads(output)
    assert (found["finished"], found["failed"]) == (1, 1), found
    broken, well = found["jobs"]
    assert well["status"] == "finished"
    assert broken["errors"] == [f"seed 0: {broken['runs'][0]['error']}"]
    assert len(records.find(folder / "results")) == 2
    assert not list((folder / "results").rglob("*.busy"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs("hydra_joblib_launcher")
def test_joblib(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    check_grid(tmp_path, tiny_folders["llama"], "hydra/launcher=processes")


ENDLESS = [
    "-m",
    "method=lora,ia3",
    "hydra/launcher=processes",
    "trainer.max_steps=100000",
    "trainer.num_epochs=99999",
    "trainer.eval_every_steps=100000",
    "trainer.checkpoint_every_steps=20",
]


def at_work(folder: Path, process: subprocess.Popen[str], number: int) -> list[int]:
    """Wait until so many processes train and have a checkpoint; return their numbers."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        found = {path.parents[1] for path in (folder / "outputs").rglob("checkpoint-*/*.json")}
        leases = [path.read_text() for path in (folder / "results").rglob("leases/*")]
        if len(found) == number == len(leases):
            return [json.loads(text[12:])["owner"]["pid"] for text in leases]
        time.sleep(0.05)
    raise AssertionError(finish(process, 10))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="A job's process dies, and joblib ends all the others",
    how="SIGKILL to one of two processes of a multirun in training",
    lost="nothing: both jobs are launched again, each alone, and go on at their checkpoints",
)
def test_a_killed_process_costs_a_multirun_nothing(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    long = [*ENDLESS, "trainer.max_steps=600", "trainer.checkpoint_every_steps=5"]
    process = start(tmp_path, *overrides, *long)
    os.kill(at_work(tmp_path, process, 2)[0], signal.SIGKILL)
    code, output, errors = finish(process, 1000)
    assert code == 0, errors
    assert json.loads(output)["finished"] == 2
    assert not list((tmp_path / "results").rglob("leases"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
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
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    process = start(tmp_path, *overrides, *ENDLESS)
    at_work(tmp_path, process, 2)
    process.send_signal(kind)
    code, _, errors = finish(process)
    assert code == 128 + kind, errors
    assert "the same command goes on where this one stopped" in errors
    steps = [int(path.name[-8:]) for path in (tmp_path / "outputs").rglob("checkpoint-*")]
    assert sum(step % 20 != 0 for step in steps) == 2  # the step that was being taken, of either
    for path in (tmp_path / "results").rglob("leases/*"):
        assert json.loads(path.read_text()[12:])["owner"] is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs("hydra_joblib_launcher")
@pytest.mark.fault(
    what="A cluster's time limit draws near for one job of a multirun",
    how="SIGUSR2 to one of two processes in training",
    lost="nothing: it saves and is told as interrupted, the other job goes on to its end",
)
def test_a_job_that_is_asked_to_leave_stops_no_other(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    long = [*ENDLESS, "trainer.max_steps=600"]
    process = start(tmp_path, *overrides, *long)
    os.kill(at_work(tmp_path, process, 2)[0], signal.SIGUSR2)
    code, output, errors = finish(process, 1000)
    assert code == 1, errors
    jobs = {job["status"]: job for job in json.loads(output)["jobs"]}
    assert jobs["failed"]["errors"] == [
        "interrupted, SIGUSR2 came. The same command goes on there."
    ]
    assert [run["status"] for run in jobs["failed"]["runs"]] == ["running"]
    assert [run["status"] for run in jobs["finished"]["runs"]] == ["finished"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
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
        deadline = time.monotonic() + 240
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
    script = (
        "import os, sys; from pathlib import Path; from pedro_bench.cli.launching import pin_gpu; "
        f"pin_gpu(Path({str(tmp_path)!r})); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); "
        "sys.stdin.read()"
    )

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment(CUDA_VISIBLE_DEVICES="3,5"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def given(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    processes: list[subprocess.Popen[str]] = []
    try:
        for gpu in ("3", "5"):
            processes.append(started())
            assert given(processes[-1]) == gpu
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        with pytest.raises(
            ConfigError, match=r"n_jobs must be at most .*set hydra.launcher.n_jobs=2"
        ):
            pin_gpu(tmp_path)
        processes[0].kill()
        processes[0].wait()
        processes.append(started())  # joblib replaces a process that grew large by a new one
        assert given(processes[-1]) == "3"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # a cluster has pinned one already
    pin_gpu(tmp_path)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_gpus_of_a_machine_are_counted_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus(tmp_path) == ["0", "1", "10"]
    shutil.rmtree(tmp_path)
    assert visible_gpus(tmp_path) == []
