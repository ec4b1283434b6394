"""Rounds of a multirun: jobs that die are launched again, and no other pays for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench.cli import rounds
from pedro_bench.cli.launching import LEAVE, begun, word_of
from pedro_bench.cli.rounds import MOST_DEATHS, Job, work_off
from pedro_bench.experiment.leases import Leases

RUN = "lora--sst2--tiny--0123456789ab--seed0"


@dataclass(frozen=True)
class Combination:
    name: str
    place: Path = Path("nowhere")

    @property
    def settings(self) -> SimpleNamespace:
        return SimpleNamespace(lease_seconds=60.0, output_dir=str(self.place), suite="suite")


def leave_word(path: Path, *, again: bool = False) -> None:
    path.write_text(json.dumps({"errors": [], "left": [], "again": again}))


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
                    leave_word(word_of(folder, number))
        return "a process was terminated" if is_deadly else None


class Scripted:
    """Stands for a launcher of one job, of which every launch does what the script says next."""

    def __init__(self, *script: Callable[[Path], None]) -> None:
        self.script = list(script)
        self.folders: list[Path] = []

    def __call__(self, _: Any, __: Any, folder: Path, ___: Any) -> str | None:
        folder.mkdir(parents=True)
        begun(folder, 0).touch()
        self.folders.append(folder)
        self.script.pop(0)(folder)
        return None if word_of(folder, 0).is_file() else "a process was terminated"


def ends(folder: Path) -> None:
    leave_word(word_of(folder, 0))


def is_asked_to_leave(folder: Path) -> None:
    leave_word(word_of(folder, 0), again=True)


def jobs_of(*names: str) -> list[Job]:
    sweep: Any = object()
    return [Job(sweep, Combination(name), [], is_due=True) for name in names]  # type: ignore[arg-type]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of one run."""
    sweep: Any = object()
    path = tmp_path / "results" / "suite" / f"{RUN}.json"
    return Job(sweep, Combination("a", tmp_path / "out"), [path], is_due=True)  # type: ignore[arg-type]


def saves_step(tmp_path: Path, step: int) -> None:
    """Do what a training does that gets so far."""
    phase = tmp_path / "out" / "suite" / RUN / "phase-0"
    (phase / f"checkpoint-{step:08d}").mkdir(parents=True)


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


def test_a_job_that_gets_further_between_its_deaths_is_not_given_up(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies_at(step: int) -> Callable[[Path], None]:
        return lambda _: saves_step(tmp_path, step)

    launcher = Scripted(dies_at(50), dies_at(100), dies_at(150), ends)
    monkeypatch.setattr(rounds, "launch", launcher)
    work_off([job], tmp_path / "multirun", print)
    assert launcher.script == []
    assert (job.deaths, job.errors) == (1, [])


def test_a_job_that_gets_no_further_is_given_up(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Scripted(lambda _: saves_step(tmp_path, 50), lambda _: None, ends)
    monkeypatch.setattr(rounds, "launch", launcher)
    work_off([job], tmp_path / "multirun", print)
    assert launcher.script == [ends]
    assert "ended without a word" in job.errors[0]


def test_a_job_that_meets_its_time_limit_is_launched_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(step: int) -> Callable[[Path], None]:
        return lambda folder: (saves_step(tmp_path, step), is_asked_to_leave(folder))[0]

    launcher = Scripted(at(10), at(20), at(30), ends)
    monkeypatch.setattr(rounds, "launch", launcher)
    work_off([job], tmp_path / "multirun", print)
    assert launcher.script == []
    assert job.deaths == 0  # so it is launched together with the others
    nowhere = Scripted(is_asked_to_leave, is_asked_to_leave, ends)
    monkeypatch.setattr(rounds, "launch", nowhere)
    job.is_due, job.progress = True, (0, 30)
    work_off([job], tmp_path / "another", print)
    assert nowhere.script == [ends]


def test_a_job_whose_command_was_asked_to_end_is_not_launched_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(folder: Path) -> None:
        saves_step(tmp_path, 10)
        is_asked_to_leave(folder)
        (folder.parent / LEAVE).touch()

    launcher = Scripted(leaves, ends)
    monkeypatch.setattr(rounds, "launch", launcher)
    work_off([job], tmp_path / "multirun", print)
    assert launcher.script == [ends]


def test_a_job_that_trains_on_without_its_launcher_is_heard_later(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's launcher gives up at the first death of a job, and the other jobs train on."""
    lease = Leases(job.planned[0].parent, 60).take(RUN)
    assert lease is not None
    launcher = Scripted(lambda _: None)
    monkeypatch.setattr(rounds, "launch", launcher)
    monkeypatch.setattr(rounds.time, "sleep", lambda _: ends(launcher.folders[0]))
    work_off([job], tmp_path / "multirun", print)
    assert (job.deaths, job.errors, job.silent) == (0, [], None)
    lease.release(is_done=True)


def test_a_job_that_trains_on_and_dies_is_launched_again_once(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(job.planned[0].parent, 60)
    held = [leases.take(RUN)]

    def dies(_: float) -> None:
        lease = held.pop()
        assert lease is not None
        lease.release(is_done=False)

    launcher = Scripted(lambda _: None, lambda _: held.append(leases.take(RUN)), ends)
    monkeypatch.setattr(rounds, "launch", launcher)
    monkeypatch.setattr(rounds.time, "sleep", dies)
    work_off([job], tmp_path / "multirun", print)
    assert launcher.script == [ends]
    assert job.deaths == MOST_DEATHS
    assert "ended without a word" in job.errors[0]
