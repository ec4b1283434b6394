"""What a worker leaves that dies between its finished record and its end is removed by the next command."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import grid, records
from pedro_bench.__main__ import main
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.grid.leases import Leases
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs import runner
from pedro_bench.training.saved_folder import working_folder
from tests.integration.grids import arguments, write_sst2


@pytest.fixture
def overrides(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"), "trainer.max_steps=2")


@pytest.fixture
def settings(overrides: list[str]) -> Settings:
    return settings_of(overrides)


def killed_before_removal(settings: Settings) -> tuple[Path, Path]:
    """Run in a process that SIGKILL ends there; return the paths of the record and the checkpoints."""
    child = os.fork()
    if child == 0:
        runner.restart = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        grid.run(settings)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    [(_, path, found)] = grid.plan(settings)
    assert found == "finished"
    folder = working_folder(settings, path)
    assert (folder / "phase-0").is_dir()
    assert len(list((path.parent / "leases").iterdir())) == 1
    return path, folder


@pytest.mark.fault(
    what="SIGKILL after the finished record",
    how="before the run's checkpoints are removed; then the same command, or a multirun of it",
    lost="nothing: the record stays as it is, checkpoints and lease are removed",
)
@pytest.mark.parametrize("is_multirun", [False, True])
def test_checkpoints_of_a_killed_worker_do_not_stay(
    *, is_multirun: bool, overrides: list[str], settings: Settings
) -> None:
    path, folder = killed_before_removal(settings)
    content = path.read_bytes()
    if is_multirun:
        assert main(["-m", *overrides]) == 0
    else:
        grid.run(settings)
    assert path.read_bytes() == content
    assert [one.name for one in folder.iterdir()] == ["adapter"]
    assert not (path.parent / "leases").exists()


def test_a_run_that_another_worker_does_again_is_left_alone(settings: Settings) -> None:
    path, folder = killed_before_removal(settings)
    held = Leases(path.parent, settings.lease_seconds).take(path.stem)
    assert held is not None
    grid.run(settings)
    assert (folder / "phase-0").is_dir()
    held.release(is_done=True)


@pytest.mark.parametrize("is_multirun", [False, True])
def test_a_rerun_counts_no_crash_of_the_finished_run(
    *,
    is_multirun: bool,
    overrides: list[str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, _ = killed_before_removal(settings)
    (left,) = (path.parent / "leases").iterdir()
    others = left.read_text().replace('"grid": ""', '"grid": "another command"')
    left.write_text(others.replace('"crashes": 0', '"crashes": 1'))
    take, counts = Leases.take, []

    def counted(leases: Leases, *given: Any, **named: Any) -> Any:
        lease = take(leases, *given, **named)
        counts.append(None if lease is None else lease.crashes)
        return lease

    monkeypatch.setattr(Leases, "take", counted)
    if is_multirun:
        assert main(["-m", *overrides, "rerun=true"]) == 0
    else:
        grid.run(replace(settings, rerun=True))
    assert counts == [0]


def test_kept_checkpoints_stay(settings: Settings) -> None:
    grid.run(replace(settings, keep_checkpoints=True))
    [(_, path, _)] = grid.plan(settings)
    kept = sorted((working_folder(settings, path) / "phase-0").rglob("*"))
    assert kept
    grid.run(settings)
    assert sorted((working_folder(settings, path) / "phase-0").rglob("*")) == kept
    assert records.read(path).status == "finished"
