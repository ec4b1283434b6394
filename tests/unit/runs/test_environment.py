"""Where a run is made: threads, highest memory, moments and the commit, each of its own."""

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch

from pedro_bench.runs import environment
from pedro_bench.runs.environment import SMALL_PARAMETERS, fit_threads, now


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment._threads_at_start.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
    environment._threads_at_start.cache_clear()


def test_a_small_backbone_on_the_cpu_gets_one_thread_and_the_next_large_one_all() -> None:
    given = []
    for parameters, device in (
        (SMALL_PARAMETERS - 1, "cpu"),
        (SMALL_PARAMETERS, "cpu"),
        (SMALL_PARAMETERS - 1, "cpu"),
        (SMALL_PARAMETERS - 1, "cuda:0"),
    ):
        fit_threads(parameters, device)
        given.append(torch.get_num_threads())
    assert given == [1, 3, 1, 3]


def test_the_callers_number_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    fit_threads(1, "cpu")
    assert torch.get_num_threads() == 3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone forgets a peak")
def test_the_highest_memory_is_this_runs_and_not_an_earlier_ones() -> None:
    """Workers run many runs in one process."""
    size = 400 * 2**20
    environment.reset_process_peak()
    before = environment.process_peak_bytes()
    held = torch.ones(size, dtype=torch.uint8)
    with_it = environment.process_peak_bytes()
    del held
    assert with_it > before + size // 2
    environment.reset_process_peak()
    assert environment.process_peak_bytes() < with_it - size // 2
    assert environment.peak_bytes(7) == {"peak_bytes": 7, "of": "gpu"}
    assert environment.peak_bytes(None)["of"] == "process"


def test_two_moments_of_one_second_are_told_apart() -> None:
    moments = set()
    for _ in range(3):
        moments.add(now())
        time.sleep(0.005)
    assert len(moments) == 3
    assert all(datetime.fromisoformat(one).utcoffset() == timedelta(0) for one in moments)


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *own, *words], check=True, capture_output=True)


def test_a_package_below_another_checkout_is_not_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv" / "pedro_bench"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    monkeypatch.setattr(environment, "PACKAGE", package)

    git(tmp_path, "init")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "-m", "another project")
    assert environment._git_state() == {"commit": None, "dirty": None}
    git(tmp_path, "add", "-f", ".venv/pedro_bench/__init__.py")
    git(tmp_path, "commit", "-m", "its own")
    found = environment._git_state()
    assert len(found["commit"]) == 40 and found["dirty"] is False


def test_tables_of_rates_are_no_uncommitted_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, rates = tmp_path / "pedro_bench", tmp_path / "conf" / "rates"
    for folder in (package, rates):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (rates / "small.yaml").write_text("[]")
    (rates.parent / "run.yaml").write_text("a: 1")
    monkeypatch.setattr(environment, "PACKAGE", package)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "its own")
    (rates / "small.yaml").write_text("[{for: {}, set: {trainer.lr: 1.0e-4}}]")
    (rates / "mine.yaml").write_text("[]")
    assert environment._git_state()["dirty"] is False
    (rates.parent / "run.yaml").write_text("a: 2")
    assert environment._git_state()["dirty"] is True
