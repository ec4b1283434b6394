"""Launchers, each for real: workers in processes of their own, one record a run, one summary."""

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
from pedro_bench.cli.hydra.launch import is_installed
from pedro_bench.cli.worker import pin_gpu, visible_gpus
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
    "trainer.num_epochs=99999",
    "trainer.eval_every_steps=100000",
    "trainer.checkpoint_every_steps=5",
]


LAUNCHED = [
    pytest.param(["workers=2"], id="processes"),
    pytest.param(["hydra/launcher=processes"], id="joblib", marks=needs("hydra_joblib_launcher")),
]


def two_runs(
    tiny: Path, folder: Path, max_steps: int, launcher: list[str]
) -> subprocess.Popen[str]:
    """Start a grid of two runs, each of which stands still after step 6 until `open_gate`."""
    gated = write_gated(folder / "gate")
    own = [*arguments(tiny, write_sst2(folder / "data")), *TWO, f"trainer.max_steps={max_steps}"]
    own += launcher
    own.remove("method=lora")
    return start(folder, *gated, *own)


def open_gate(folder: Path) -> None:
    (folder / "gate" / "go").touch()


def at_work(folder: Path, process: subprocess.Popen[str]) -> list[int]:
    """Wait until two processes have a checkpoint and stand still; return their numbers."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        saved = {path.parents[1] for path in found(folder / "outputs", "checkpoint-*/*.json")}
        try:
            leases = [path.read_text() for path in found(folder / "results", "leases/*")]
            owners = [json.loads(text[12:])["owner"]["pid"] for text in leases]
        except (FileNotFoundError, ValueError):  # given back, or not yet whole
            owners = []
        steps = [folder / "gate" / f"step-{owner}" for owner in owners]
        stand_still = all(path.exists() and path.read_text() == "6" for path in steps)
        if len(saved) == 2 == len(owners) and stand_still:
            return owners
        time.sleep(0.05)
    raise AssertionError(finish(process, 10))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    what="A worker of a grid dies",
    how="SIGKILL to one of two workers in training, of the command's own and of joblib's",
    lost="nothing: another worker goes on with its run at the last checkpoint, and the others train on",
)
@pytest.mark.parametrize("launcher", LAUNCHED)
def test_a_killed_worker_costs_a_grid_nothing(
    launcher: list[str], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_runs(tiny_folders["llama"], tmp_path, 20, launcher)
    killed, other = at_work(tmp_path, process)
    os.kill(killed, signal.SIGKILL)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert json.loads(output)["finished"] == 2
    assert not list((tmp_path / "results").rglob("leases"))
    assert (tmp_path / "gate" / f"step-{other}").read_text() == "20"


DEADLY = """
import os
import signal
from dataclasses import dataclass

from pedro_bench.methods.lora import Lora


@dataclass(frozen=True, kw_only=True)
class Deadly(Lora):
    def after_step(self, adapter, step, num_steps):
        if step == 3 and self.r == 4:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.timeout(900)
@pytest.mark.fault(
    what="A run that ends every worker",
    how="SIGKILL at its third step, whichever worker takes it",
    lost="that run: it is recorded as failed after its second worker; the others end, and it can be retried",
)
def test_a_run_that_ends_two_workers_is_recorded_as_failed(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    chosen = write_gated(tmp_path / "gate")
    (tmp_path / "gate" / "gated.py").write_text(DEADLY.replace("Deadly", "Gated"))
    own = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"), "workers=2")
    own.remove("method=lora")
    code, output, errors = finish(start(tmp_path, *chosen, *own, "-m", "method.r=2,4"))
    assert code == 1, errors
    well, deadly = json.loads(output)["jobs"]
    assert (well["status"], deadly["status"]) == ("finished", "failed")
    assert "got 2 workers that died in this one" in deadly["errors"][0]
    [run] = deadly["runs"]
    assert run["status"] == "failed"
    assert deadly["errors"] == [f"seed 0: {run['error']}"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    what="Ctrl-C or SIGTERM to a grid in processes",
    how="sent to a command whose two workers train, its own and joblib's",
    lost="nothing: it waits for both to save, and gives both runs back",
)
@pytest.mark.parametrize("launcher", LAUNCHED)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_grid_lets_its_workers_save(
    kind: signal.Signals, launcher: list[str], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_runs(tiny_folders["llama"], tmp_path, 100_000, launcher)
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
@pytest.mark.fault(
    what="A command dies whose workers train",
    how="SIGKILL to a command with two workers",
    lost="nothing: the workers save, give their runs back and end",
)
def test_workers_end_with_their_command(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    process = two_runs(tiny_folders["llama"], tmp_path, 100_000, ["workers=2"])
    at_work(tmp_path, process)
    process.kill()
    open_gate(tmp_path)
    finish(process)
    deadline = time.monotonic() + 300
    held = [True]
    while any(held) and time.monotonic() < deadline:
        time.sleep(0.2)
        texts = [path.read_text() for path in found(tmp_path / "results", "leases/*")]
        held = [json.loads(text[12:])["owner"] is not None for text in texts if text]
    assert held == [False, False]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    what="One worker of a grid is asked to end",
    how="SIGTERM to one of two workers in training",
    lost="nothing: it saves and gives its run back, and the other worker takes it up",
)
def test_a_worker_that_is_asked_to_end_stops_no_other(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = two_runs(tiny_folders["llama"], tmp_path, 20, ["workers=2"])
    left, other = at_work(tmp_path, process)
    os.kill(left, signal.SIGTERM)
    open_gate(tmp_path)
    code, output, errors = finish(process)
    assert code == 0, errors
    assert json.loads(output)["finished"] == 2
    steps = {path.name: path.read_text() for path in (tmp_path / "gate").glob("step-*")}
    assert steps.keys() == {f"step-{left}", f"step-{other}"}  # no third worker
    assert steps[f"step-{other}"] == "20"


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
        "import os, sys; from pathlib import Path; from pedro_bench.cli.worker import pin_gpu; "
        "assert pin_gpu(Path(sys.argv[1])); "
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
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
            ConfigError, match=r"workers must be at most .*got 2 GPUs.*set workers=2"
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
    assert not pin_gpu(tmp_path)
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
