"""Rounds of a multirun: jobs that die are launched again, and no other pays for it."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench.cli import rounds
from pedro_bench.cli.launching import begun, word_of
from pedro_bench.cli.rounds import MOST_DEATHS, Job, work_off
from pedro_bench.experiment.leases import Leases


@dataclass(frozen=True)
class Combination:
    name: str

    @property
    def settings(self) -> SimpleNamespace:
        return SimpleNamespace(lease_seconds=60.0)


class Launcher:
    """Stands for joblib: a job whose name begins with `deadly` ends all jobs that have not ended.

    Args:
        begins: How many jobs begin before the deadly one dies.
    """

    def __init__(self, begins: int = 2) -> None:
        self.begins = begins
        self.launched: list[str] = []

    def __call__(self, _: Any, combinations: list[Any], folder: Path, __: Any) -> str | None:
        names = [one.name for one in combinations]
        self.launched.append(" ".join(names))
        folder.mkdir(parents=True)
        is_deadly = any(name.startswith("deadly") for name in names)
        for number in range(self.begins if is_deadly else len(names)):
            if number < len(names):
                begun(folder, number).touch()
                if not is_deadly:
                    word_of(folder, number).write_text(json.dumps({"errors": [], "left": []}))
        return "a process was terminated" if is_deadly else None


def jobs_of(*names: str) -> list[Job]:
    sweep: Any = object()
    return [Job(sweep, Combination(name), [], is_due=True) for name in names]  # type: ignore[arg-type]


def test_a_deadly_job_is_given_up_and_the_others_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher()
    monkeypatch.setattr(rounds, "launch", launcher)
    jobs = jobs_of("deadly", "b", "c", "d")
    work_off(jobs, tmp_path, print)
    assert launcher.launched == ["deadly b c d", "c d", "deadly", "b"]
    assert [one.deaths for one in jobs] == [MOST_DEATHS, 1, 0, 0]
    assert jobs[0].errors == [
        "the job ended without a word; the launcher said a process was terminated"
    ]
    assert [one.errors for one in jobs[1:]] == [[], [], []]
    assert (tmp_path / "stop").is_file()  # heeded with fail_fast=true


def test_a_launcher_that_starts_nothing_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher(begins=0)
    monkeypatch.setattr(rounds, "launch", launcher)
    jobs = jobs_of("deadly", "b")
    work_off(jobs, tmp_path, print)
    assert launcher.launched == ["deadly b"]
    assert all("ended without a word" in one.errors[0] for one in jobs)


def test_a_failed_run_that_somebody_tries_again_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "suite" / "lora--sst2--tiny--0123456789ab--seed0.json"
    statuses = iter(["failed", "failed", "finished"])
    monkeypatch.setattr(rounds, "status_of", lambda _: next(statuses))
    monkeypatch.setattr(rounds, "LONGEST_PAUSE", 0.01)
    lease = Leases(path.parent, 60).take(path.stem)
    assert lease is not None
    (job,) = jobs_of("a")
    job.is_due, job.left = False, [path]
    work_off([job], tmp_path, print)
    assert next(statuses, "none left") == "none left"
    assert (job.is_due, job.left) == (False, [])
    lease.release(is_done=True)
