"""A grid as workers see it: what is left, who holds it, what was told, and that it survives being shared."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pedro_bench import grid as runs
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError, PedroBenchError
from pedro_bench.grid import grid as grid_module
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.workers import work
from pedro_bench.protocols.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = [f"results_dir={tmp_path / 'results'}", f"output_dir={tmp_path / 'out'}"]
    return settings_of(["method=lora", "task=copa", "device=cpu", "seeds=[0,1,2]", *places])


def test_what_is_shared_is_read_back(settings: Settings) -> None:
    sized = replace(
        settings,
        fail_fast=True,
        lease_seconds=7.5,
        resolved_config={**settings.resolved_config, "budget": {"asked": 3.0}},
    )
    grid = Grid.planned([((), settings), (("method.r=3",), sized)])
    grid.share(cwd="here", options=["there"])
    assert Grid.shared(grid.folder) == {"cwd": "here", "options": ["there"]}
    found = Grid.read(grid.folder)
    assert (found.name, found.snapshot) == (grid.name, grid.snapshot)
    for one, other in zip(found.configurations, grid.configurations, strict=True):
        assert one.settings == other.settings
        assert (one.due, one.kind) == (other.due, "cpu")
    grid.remove()
    assert not grid.folder.parent.exists()


def test_a_grid_tells_what_is_free_and_who_holds_the_rest(settings: Settings) -> None:
    grid = Grid.planned([((), settings)])
    assert grid.look() == (3, set())
    paths = [path for _, path, _ in runs.plan(settings)]
    lease = Leases(paths[0].parent, 60).take(paths[0].stem)
    assert lease is not None
    free, holders = grid.look()
    assert (free, len(holders)) == (2, 1)
    assert grid.look(most=0)[0] == 1  # more than so many, and no further is looked
    lease.release(is_done=False)
    assert grid.look() == (3, set())


def test_what_was_told_of_a_configuration_closes_it_for_all(settings: Settings) -> None:
    grid = Grid.planned([((), settings), ((), replace(settings, suite="other"))])
    other = Grid(grid.configurations, grid.snapshot, grid.folder)
    grid.keep_error(0, ConfigError("method must fit, got none."))
    error = other.error(0)
    assert error is not None and error.exit_code == 2 and str(error) == "method must fit, got none."
    assert other.error(1) is None
    assert other.look() == (3, set())
    grid.keep_error(1, ZeroDivisionError("division"))
    error = other.error(1)
    assert (
        error is not None and error.exit_code == 1 and str(error) == "ZeroDivisionError: division"
    )
    assert other.look() == (0, set())


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_stopped_grid_has_nothing_left(how: str, settings: Settings) -> None:
    grid = Grid.planned([((), settings)])
    other = Grid(grid.configurations, grid.snapshot, grid.folder)
    getattr(grid, how)()
    assert other.is_stopped
    assert other.is_left == (how == "leave")
    assert other.look() == (0, set())


def test_workers_that_were_given_up_are_told(settings: Settings) -> None:
    grid = Grid.planned([((), settings)])
    assert grid.given_up == []
    grid.give_up("a:1", "interrupted, SIGTERM came.")
    grid.give_up("b:2", "a worker ended with exit code 2.")
    assert grid.given_up == ["interrupted, SIGTERM came.", "a worker ended with exit code 2."]


@pytest.mark.parametrize(("there", "here"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_worker_whose_machine_has_another_kind_of_device_does_no_run(
    there: str, here: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher's worker on a node with a GPU filled the key of a command on a machine without one."""
    monkeypatch.setattr(grid_module, "kind_of_device", lambda _: there)
    resolved = {**settings.resolved_config, "device": "auto"}
    grid = Grid.planned([((), replace(settings, device="auto", resolved_config=resolved))])
    grid.share()
    found = Grid.read(grid.folder)
    monkeypatch.setattr(grid_module, "kind_of_device", lambda _: here)
    work(found, waits=False)
    error = grid.error(0)
    assert isinstance(error, PedroBenchError)
    expected = f"got 'auto', which is {there} there and {here} on .*: set device={here} or"
    assert re.search(expected, str(error))
    assert not any(path.exists() for path in grid.paths)
    assert found.look() == (0, set())


def test_two_commands_never_share_a_folder(settings: Settings) -> None:
    """In containers process numbers are alike, and a launcher starts several in one second."""
    assert len({Grid.planned([((), settings)]).folder for _ in range(2)}) == 2
