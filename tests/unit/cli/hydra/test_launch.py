"""Launchers start equal workers through Hydra's public door, and are asked again while that helps."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli import worker
from pedro_bench.cli.hydra import launch
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.launch import Launcher, is_installed
from pedro_bench.distributed import SHARED_DEVICES
from pedro_bench.errors import ConfigError
from pedro_bench.grid.grid import Grid
from pedro_bench.training.interruption import Interrupted
from pedro_bench.training.saved_folder import working_folder


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """A shared grid of three runs, in a folder with a space and a quote in its name."""
    place = tmp_path / "a 'grid' = mine"
    place.mkdir()
    monkeypatch.chdir(place)
    own = ["method=lora", "task=copa", "device=cpu", "seeds=[0,1,2]"]
    found = Grid.planned([((), settings_of(own))])
    found.share(cwd=str(place), options=[], threads={"OMP_NUM_THREADS": "3"})
    return found


def test_every_worker_is_alike_and_finds_the_grid(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def works(found: Grid, number: int, **more: Any) -> None:
        started.append((found.name, len(list(found.paths)), number, more))

    monkeypatch.setattr(launch, "run_workers", works)
    assert Launcher(["hydra/launcher=basic"])._start(grid, 2) is None
    assert started == [(grid.name, 3, 1, {"waits": False})] * 2


@pytest.mark.parametrize(
    ("given", "gpus", "expected"),
    [
        (["cpu", "cuda"], "0", "cpu,cuda"),
        (["cpu", "cuda"], "0,1", "cpu"),  # a GPU of its own
        ([], "0,1", ""),
    ],
)
def test_a_worker_knows_which_devices_others_are_at_too(
    grid: Grid,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    gpus: str,
    expected: str,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setenv(SHARED_DEVICES, "left over")
    shared = {"pins_gpu": True, "shared_devices": given, "is_progress_shown": False}
    grid.share(cwd=str(tmp_path), options=[], **shared)
    told: list[str] = []
    monkeypatch.setattr(worker, "work", lambda *_, **__: told.append(os.environ[SHARED_DEVICES]))
    assert worker.main([str(grid.folder)]) == 0
    assert told == [expected]


def test_what_breaks_a_launcher_is_told(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise ValueError("no such node")

    monkeypatch.setattr(launch, "run_workers", breaks)
    assert Launcher(["hydra/launcher=basic"])._start(grid, 1) == "ValueError: no such node"


@pytest.mark.parametrize(("code", "given_up"), [(143, 1), (138, 0), (140, 0)])
def test_a_worker_that_was_asked_to_end_is_told_and_one_at_its_time_limit_is_not(
    code: int, given_up: int, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: Any, **__: Any) -> None:
        raise Interrupted("a signal came.", code)

    monkeypatch.setattr(launch, "run_workers", leaves)
    assert Launcher(["hydra/launcher=basic"])._start(grid, 1) is None
    assert len(grid.given_up) == given_up


def launched(grid: Grid, monkeypatch: pytest.MonkeyPatch, *progress: int) -> list[int]:
    """Run a launcher whose launches save so many steps each; return with how many workers each was."""
    asked: list[int] = []
    settings, path = grid.configurations[0].settings, next(grid.paths)

    def start(_: Launcher, __: Grid, number: int) -> str:
        step = progress[len(asked)] if len(asked) < len(progress) else 0
        asked.append(number)
        if step:
            phase = working_folder(settings, path) / "phase-0"
            (phase / f"checkpoint-{step:08d}").mkdir(parents=True)
        return "it broke."

    monkeypatch.setattr(Launcher, "_start", start)
    Launcher(["hydra/launcher=basic"]).run(grid)
    return asked


@pytest.mark.parametrize(("progress", "launches"), [((), 2), ((5,), 3), ((5, 0, 9), 5)])
def test_a_launcher_is_asked_again_as_long_as_the_grid_gets_further(
    progress: tuple[int, ...], launches: int, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launched(grid, monkeypatch, *progress) == [3] * launches
    assert grid.given_up == ["the launcher's workers ended without a result; it said it broke."]


def test_a_grid_that_is_done_asks_no_launcher(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.stop()
    assert launched(grid, monkeypatch) == []


@pytest.mark.parametrize(
    ("overrides", "is_chosen", "is_local", "shared"),
    [
        ([], False, True, ["cpu", "cuda"]),
        (["method=lora"], False, True, ["cpu", "cuda"]),
        (["hydra/launcher=basic"], False, True, ["cpu", "cuda"]),
        (["hydra/launcher=processes", "hydra.launcher.n_jobs=3"], True, True, ["cpu", "cuda"]),
        (["hydra/launcher=slurm_local"], True, False, ["cpu", "cuda"]),
        (["hydra/launcher=slurm", "hydra.launcher.partition=gpu"], True, False, ["cpu"]),
    ],
)
def test_what_is_chosen(
    overrides: list[str],
    is_chosen: bool,
    is_local: bool,
    shared: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "is_installed", lambda _: True)
    if not is_installed("hydra_joblib_launcher") and is_chosen:
        pytest.skip("the plug-ins' classes are not installed: pip install pedro_bench[launchers]")
    launcher = Launcher(overrides)
    assert (launcher.is_chosen, launcher.is_local) == (is_chosen, is_local)
    assert (launcher.shared_devices(1), launcher.shared_devices(2)) == ([], shared)
    if "hydra.launcher.n_jobs=3" in overrides:
        assert launcher._most == 3


def test_an_absent_plug_in_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "is_installed", lambda _: False)
    with pytest.raises(
        ConfigError, match=r"hydra/launcher=slurm must have the package hydra-submitit"
    ):
        Launcher(["hydra/launcher=slurm"])


def test_threads_under_joblib_are_those_of_the_command(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(launch, "run_workers", lambda *_, **more: given.append(more))
    monkeypatch.setattr(launch, "_is_joblib", lambda: True)
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    assert Launcher(["hydra/launcher=basic"])._start(grid, 1) is None
    assert given == [{"waits": False, "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": None}]
    assert records.find(Path("results")) == []
