"""How many workers a command has: as many as cores and memory take, where a run needs one thread."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError
from pedro_bench.grid import resources, workers
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.resources import free_bytes, num_cores
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.grid.workers import LEFT, TIME_LIMIT, number_of_workers


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "num_cores", lambda: 4.0)
    monkeypatch.setattr(workers, "free_bytes", lambda: 1e12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def number(folder: Path, *more: str) -> int:
    own = ["method=lora", "task=copa", "device=cpu", f"results_dir={folder}", *more]
    return number_of_workers(Grid.planned([((), settings_of(own))]))


def test_a_small_backbone_gets_a_worker_for_each_core(tmp_path: Path) -> None:
    assert number(tmp_path) == 4
    assert number(tmp_path, "seeds=[0,1,2]") == 3  # no more than runs
    assert number(tmp_path, "seeds=[0]") == 1


@pytest.mark.parametrize(("asked", "expected"), [("1", 1), ("2", 2), ("5", 5), ("9", 5)])
def test_a_number_that_was_asked_for_is_taken(asked: str, expected: int, tmp_path: Path) -> None:
    assert number(tmp_path, f"workers={asked}") == expected


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "two", "true"])
def test_another_number_is_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers must be auto or a whole number of at least 1"):
        number(tmp_path, f"workers={wrong}")


def test_memory_bounds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "modelled_cost", lambda _: SimpleNamespace(peak_bytes=4e8))
    for free, expected in ((5e8, 1), (1.9e9, 1), (2.1e9, 2), (9e9, 4)):
        monkeypatch.setattr(workers, "free_bytes", lambda free=free: free)
        assert number(tmp_path) == expected


@pytest.mark.parametrize(
    ("parameters", "threads", "expected"),
    [(10**7, None, 4), (10**8, None, 1), (10**8, "1", 4), (10**8, "2", 2), (10**7, "4", 1)],
)
def test_threads_of_a_run_bound_them(
    parameters: int,
    threads: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    own = settings_of(["method=lora", "task=copa", "device=cpu", f"results_dir={tmp_path}"])
    given = workers._threads
    monkeypatch.setattr(workers, "_threads", lambda _: workers.threads_for(parameters, "cpu"))
    assert given(own) in (1, int(threads or 1))
    assert number_of_workers(Grid.planned([((), own)])) == expected


def test_a_gpu_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings_of(["method=lora", "task=copa", "device=cpu", f"results_dir={tmp_path}"])
    grid = Grid.planned([((), own)])
    monkeypatch.setattr(workers, "resolve_device", lambda _: "cuda")
    assert number_of_workers(grid) == 1
    three = replace(grid.configurations[0], settings=replace(own, workers=3))
    assert number_of_workers(Grid([three], RecordSnapshot({}), tmp_path)) == 3


def test_a_launcher_starts_as_many_as_it_has_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings_of(["method=lora", "task=copa", "device=cpu", f"results_dir={tmp_path}"])
    grid = Grid.planned([((), own)])  # of five runs
    monkeypatch.setattr(workers, "resolve_device", lambda _: "cuda")
    assert [number_of_workers(grid, places) for places in (2, 16)] == [2, 5]
    three = replace(grid.configurations[0], settings=replace(own, workers=3))
    assert number_of_workers(Grid([three], RecordSnapshot({}), tmp_path), 2) == 3, (
        "what is asked for wins"
    )
    nothing = replace(three, due=())
    assert number_of_workers(Grid([nothing], RecordSnapshot({}), tmp_path), 2) == 0


def test_nothing_due_has_none(tmp_path: Path) -> None:
    own = settings_of(["method=lora", "task=copa", "device=cpu", f"results_dir={tmp_path}"])
    (one,) = Grid.planned([((), own)]).configurations
    assert number_of_workers(Grid([replace(one, due=())], RecordSnapshot({}), tmp_path)) == 0


def test_processes_of_accelerate_are_workers_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}
    for name, value in {**own, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert number(tmp_path) == 1


def test_the_machine_is_asked() -> None:
    monkeyed = (num_cores(), free_bytes())
    assert monkeyed[0] >= 1
    assert monkeyed[1] > 0


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a control group within another, as a job of Slurm has it."""
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/slurm/job_7\n")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(resources, "OWN_CGROUP", tmp_path / "own")
    folder = tmp_path / "groups/slurm/job_7"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("group", "cores"),
    [
        ("max 100000", 3.0),
        ("150000 100000", 1.5),
        ("50000 100000", 1.0),
        ("", 3.0),
        ("900000 100000", 3.0),
    ],
)
@pytest.mark.parametrize("level", range(3))
def test_a_control_group_bounds_the_cores(
    group: str, cores: float, level: int, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [groups, *groups.parents][level].joinpath("cpu.max").write_text(f"{group}\n")
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert num_cores() == cores
    monkeypatch.delattr(resources.os, "sched_getaffinity")
    monkeypatch.setattr(resources.os, "cpu_count", lambda: 3)
    assert num_cores() == cores, "as on systems without affinity"


def test_a_control_group_bounds_the_memory_but_for_what_it_keeps_of_files(groups: Path) -> None:
    before = free_bytes()
    (groups / "memory.max").write_text("max\n")
    (groups / "memory.current").write_text("9\n")
    above = groups.parent
    (above / "memory.current").write_text("990000\n")
    assert free_bytes() == pytest.approx(before, rel=0.5)
    (above / "memory.max").write_text("1000000\n")
    assert free_bytes() == 10_000
    (above / "memory.stat").write_text("active_file 7\ninactive_file 500000\nslab 3\n")
    assert free_bytes() == 510_000


def test_where_the_memory_is_not_known_the_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where the number of workers was not a number."""
    monkeypatch.setattr(workers, "free_bytes", lambda: float("inf"))
    assert number(tmp_path) == 4


@pytest.mark.parametrize(
    ("code", "has_held", "is_given_up"),
    [
        (0, False, False),
        (TIME_LIMIT[0], True, False),
        (LEFT[0], True, True),
        (LEFT[1], False, True),
        (-9, True, False),
        (-9, False, True),
        (2, False, True),
    ],
)
def test_who_is_replaced(code: int, has_held: bool, is_given_up: bool, tmp_path: Path) -> None:
    grid = Grid([], RecordSnapshot({}), tmp_path)
    process = SimpleNamespace(returncode=code, pid=7)
    worker = workers._Worker(process, has_held)  # type: ignore[arg-type]
    assert workers._is_given_up(grid, worker) == is_given_up
    assert len(grid.given_up) == is_given_up
