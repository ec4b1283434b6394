"""Hydra's launchers, each for real: jobs in processes of their own, one record each, one summary."""

import json
import os
import shutil
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
        "import os; from pathlib import Path; from pedro_bench.cli.launching import pin_gpu; "
        f"pin_gpu(Path({str(tmp_path)!r})); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    given = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment(CUDA_VISIBLE_DEVICES="3,5"),
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert given == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with pytest.raises(ConfigError, match=r"n_jobs must be at most .*set hydra.launcher.n_jobs=2"):
        pin_gpu(tmp_path)
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
