"""Rounds: the jobs of a multirun handed to their launchers until nothing of theirs is left to do.

A job whose process died without a word (killed, out of memory, its node lost) is launched once more, alone,
since a launcher may end every process when one dies: joblib does, and which of them was at fault cannot be
seen. So an innocent job goes on where it was, and one at fault takes no other with it. A cluster's launcher
gives up at the first death while its other jobs train on: those still hold a run, and are waited for. A job
that a time limit ends is launched again with the others. Whoever got further in between has not died before.
A run that another worker has is waited for; if that worker dies, the run is freed and its job launched again.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pedro_bench.cli.jobs import Combination, Sweep
from pedro_bench.cli.launching import LEAVE, STOP, begun, launch, word_of
from pedro_bench.experiment.leases import Leases
from pedro_bench.experiment.leftovers import working_folder
from pedro_bench.experiment.sharing import LONGEST_PAUSE, status_of
from pedro_bench.training.working_folder import steps_saved

MOST_DEATHS = 2
"""After how many deaths without progress in between a job is given up: once in company, once alone."""


@dataclass
class Job:
    """A combination and what is known of it.

    Attributes:
        sweep: The sweep it is of, which chooses the launcher.
        combination: The combination.
        planned: Paths of its records.
        is_due: Whether it is to be launched.
        errors: What its processes left.
        left: Paths of the records of runs that other workers have.
        deaths: How often its process died after it had begun, and had got no further since the last time.
        progress: How far it was then: runs that were over, and steps in the checkpoints of the others.
        silent: Where its process is to leave its word, which ended its launcher but seems to be at work.
    """

    sweep: Sweep
    combination: Combination
    planned: list[Path]
    is_due: bool
    errors: list[str] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)
    deaths: int = 0
    progress: tuple[int, int] = (0, 0)
    silent: Path | None = None


def work_off(jobs: Sequence[Job], folder: Path, body: Callable[[Any], None]) -> None:
    """Launch the jobs that are due, and again those that died or whose runs other workers gave up.

    Args:
        jobs: What became of them is written there.
        folder: The multirun's folder; every launch has one of its own in it.
        body: What a job's process calls with its configuration.
    """
    for number in count():
        for part, group in enumerate(_groups([one for one in jobs if one.is_due])):
            place = folder / f"round{number}-{part}"
            broken = launch(group[0].sweep, [one.combination for one in group], place, body)
            _hear(group, place, broken)
        if not any(one.is_due for one in jobs):
            _wait(jobs)
        if not any(one.is_due for one in jobs):
            return


def _groups(due: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs of each sweep together, then each that died once by itself."""
    sweeps = {id(one.sweep): one.sweep for one in due}.values()
    together = [[one for one in due if one.sweep is sweep and not one.deaths] for sweep in sweeps]
    return [group for group in together if group] + [[one] for one in due if one.deaths]


def _hear(group: Sequence[Job], place: Path, broken: str | None) -> None:
    """Take what the jobs' processes left, or what broke their launcher."""
    is_running = any(begun(place, number).is_file() for number in range(len(group)))
    reason = "see the launcher's own log" if broken is None else f"the launcher said {broken}"
    for number, one in enumerate(group):
        path, has_begun = word_of(place, number), begun(place, number).is_file()
        one.silent = None
        if path.is_file():
            _take_word(one, path)
            continue
        one.errors, one.is_due = [f"the job ended without a word; {reason}"], False
        one.left = _held(one) if has_begun else []
        if one.left:
            one.silent = path
        elif has_begun:
            _begin_again(one, place.parent, has_died=True)
        elif is_running:
            one.is_due = True
        else:
            _give_up(place.parent)


def _take_word(one: Job, path: Path) -> None:
    word = json.loads(path.read_text(encoding="utf-8"))
    one.errors, one.left = word["errors"], [Path(left) for left in word["left"]]
    one.is_due, one.silent = False, None
    folder = path.parent.parent
    if word["again"] and not (folder / LEAVE).exists():
        _begin_again(one, folder, has_died=False)


def _begin_again(one: Job, folder: Path, *, has_died: bool) -> None:
    """Make a job due again, unless it has come to its last death.

    Args:
        one: The job.
        folder: The multirun's folder.
        has_died: Whether its process died; one that was asked to leave and got nowhere counts as well.
    """
    settings = one.combination.settings
    over = [path for path in one.planned if status_of(path) in ("finished", "failed")]
    others = (working_folder(settings, path) for path in one.planned if path not in over)
    progress = (len(over), sum(map(steps_saved, others)))
    is_further = progress > one.progress
    one.deaths = (0 if is_further else one.deaths) + (has_died or not is_further)
    one.progress, one.left, one.silent = progress, [], None
    one.is_due = one.deaths < MOST_DEATHS
    if not one.is_due:
        _give_up(folder)


def _give_up(folder: Path) -> None:
    (folder / STOP).write_text("a job's process", encoding="utf-8")


def _held(one: Job) -> list[Path]:
    """Return the records of a job's runs that living workers have."""
    seconds = one.combination.settings.lease_seconds
    return [path for path in one.planned if Leases(path.parent, seconds).is_held(path.stem)]


def _wait(jobs: Sequence[Job]) -> None:
    """Wait while other workers have runs of these jobs; make those due whose runs they gave up."""
    seconds = jobs[0].combination.settings.lease_seconds if jobs else 0
    leases = {path.parent: Leases(path.parent, seconds) for one in jobs for path in one.left}
    while True:
        for one in jobs:
            one.left = [path for path in one.left if not _is_over(leases[path.parent], path)]
            freed = [path for path in one.left if _free(leases[path.parent], path)]
            one.is_due = bool(freed)
            if one.silent is not None:
                _listen(one, one.silent, has_died=bool(freed))
        if any(one.is_due for one in jobs) or not any(one.left for one in jobs):
            return
        time.sleep(min(seconds / 3, LONGEST_PAUSE))


def _listen(one: Job, path: Path, *, has_died: bool) -> None:
    """Look whether a job that left no word has left one now, goes on with another run, or has died.

    Between two runs it has none, so it may be taken for dead: it is then launched in vain, no more.
    """
    if path.is_file():
        _take_word(one, path)
    elif has_died or not (one.left or _held(one)):
        _begin_again(one, path.parent.parent, has_died=True)
    elif not one.left:
        one.left = _held(one)


def _is_over(leases: Leases, path: Path) -> bool:
    """Whether a run has come to its end; a failed one that somebody holds is being tried again."""
    status = status_of(path)
    return status == "finished" or (status == "failed" and leases.holder(path.stem) is None)


def _free(leases: Leases, path: Path) -> bool:
    """Give back, in the place of a holder that fell silent, a run that nobody has any more.

    The job's own process could not: it looks once, and a silence takes watching.
    """
    lease = leases.take(path.stem)
    if lease is not None:
        lease.release(is_done=False)
    return lease is not None
