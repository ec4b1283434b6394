"""Workers: each takes any run of a grid that is due and free, one after another, until none is left.

A command is a worker itself, or keeps as many worker processes on this machine as are asked for, as long as
there are runs for them. A worker that dies is replaced, and so is one that left before a time limit; one that
was asked to end, or that could not begin, is not. A worker ends by itself if the process that started it is
gone.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from pedro_bench.distributed import is_main, is_one_of_several, meet
from pedro_bench.errors import PedroBenchError
from pedro_bench.grid.claims import Claims
from pedro_bench.grid.costs import modelled_cost
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.leases import seconds_between_looks
from pedro_bench.grid.occupied import occupying
from pedro_bench.grid.resources import free_bytes, num_cores
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs.environment import resolve_device, threads_for
from pedro_bench.runs.processes import agreed_due, made_ready, reasons_recorded, refuse_splitting
from pedro_bench.training.interruption import ENDING, Interrupted, TakenOver, grace_after, taken_by
from pedro_bench.training.progress import Board
from pedro_bench.training.tracking import NoTracking

_logger = logging.getLogger(__name__)

OnRecord = Callable[[dict[str, Any]], None]

COMMAND = (sys.executable, "-m", "pedro_bench.cli.worker")
PACKAGES = Path(__file__).parents[2]

LEFT = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of a worker that was asked to end, not only to leave before a time limit."""

TIME_LIMIT = (128 + signal.SIGUSR1, 128 + signal.SIGUSR2)

PAUSE = 0.2
"""Seconds between two looks at the workers."""

PROCESS_BYTES = 6 * 10**8
"""What a worker takes before it has loaded anything."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    has_held: bool = False

    @property
    def name(self) -> str:
        return f"{socket.gethostname()}:{self.process.pid}"

    def let_go(self) -> None:
        """Close the pipe that says that this process lives."""
        if self.process.stdin is not None:
            self.process.stdin.close()


def run_workers(grid: Grid, number: int, *, waits: bool = True, **variables: str | None) -> None:
    """Keep up to `number` workers on this machine at work until no run of a shared grid is left.

    With `waits` they also wait for runs that other commands have, and do those that are given up. `variables`
    are set in the workers' environment; None removes one. What became of the runs stands in records and in
    the grid's folder.
    """
    workers: list[_Worker] = []

    def leave(kind: int, _: FrameType | None) -> None:
        _end(workers, kind)
        for one in workers:
            one.let_go()
        raise Interrupted(f"{signal.Signals(kind).name} came.", 128 + kind)

    with Board() as board, taken_by(leave, signal.SIGINT, *ENDING):
        while True:
            if grid.is_left:
                leave(signal.SIGTERM, None)
            for one in [one for one in workers if one.process.poll() is not None]:
                workers.remove(one)
                one.let_go()
                number -= _is_given_up(grid, one)
            free, holders = grid.look(number)
            for one in workers:
                one.has_held |= one.name in holders
            idle = sum(one.name not in holders for one in workers)
            if len(workers) < number and free > idle:
                workers.append(_Worker(_start(grid, board, variables)))
            elif not workers and not (waits and number and (free or holders)):
                return
            time.sleep(PAUSE)


def _start(
    grid: Grid, board: Board, variables: Mapping[str, str | None]
) -> subprocess.Popen[bytes]:
    paths = (str(PACKAGES), os.environ.get("PYTHONPATH"))
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **variables}
    process = subprocess.Popen(
        [*COMMAND, str(grid.folder)],
        env={name: value for name, value in own.items() if value is not None},
        stdin=subprocess.PIPE,  # closed with this process: the worker sees that it is gone
        start_new_session=True,  # Ctrl-C comes to this process, which passes it on
        stdout=subprocess.PIPE if board.is_shown else subprocess.DEVNULL,
        stderr=subprocess.PIPE if board.is_shown else None,
    )
    board.follow(process)
    return process


def _is_given_up(grid: Grid, worker: _Worker) -> bool:
    """Whether a worker that has ended is not to be replaced; the reason is then kept."""
    code = worker.process.returncode
    if code == 0 or code in TIME_LIMIT or (worker.has_held and code not in LEFT):
        return False
    if code in LEFT:
        kind = signal.Signals(code - 128).name
        reason = f"interrupted, {kind} came. The same command goes on there."
    else:
        reason = f"a worker ended with exit code {code} before it had begun a run; its log says why"
    grid.give_up(worker.name, reason)
    return True


def _end(workers: list[_Worker], kind: int) -> None:
    """Pass a signal on and wait until the workers have saved, or their grace and a little more is over."""
    for one in workers:
        with contextlib.suppress(ProcessLookupError):
            one.process.send_signal(signal.SIGTERM if kind == signal.SIGINT else kind)
    deadline = time.monotonic() + grace_after(kind) + 2
    while time.monotonic() < deadline and any(one.process.poll() is None for one in workers):
        time.sleep(0.05)


def number_of_workers(grid: Grid, launched: int | None = None) -> int:
    """Return how many workers a command has, never more than due runs.

    `workers=auto` gives one where a run takes a GPU or several threads, else one for each core as far as
    the memory reaches. The threads of a run do not depend on it.

    Args:
        grid: What is to be done.
        launched: What `workers=auto` gives where a launcher starts them; None where they share this machine.
    """
    due = [one for one in grid.configurations if one.due]
    asked = due[0].settings.workers if due else 1
    most = sum(len(one.due) for one in due)
    if is_one_of_several():
        return 1
    if asked == "auto" and launched is not None:
        asked = launched
    if isinstance(asked, int):
        return min(asked, most)
    if most < 2 or any(_takes_all(one.settings) for one in due):
        return min(1, most)
    peak = PROCESS_BYTES + max(modelled_cost(one.settings).peak_bytes for one in due)
    threads = max(_threads(one.settings) or 1 for one in due)
    return max(1, int(min(most, free_bytes() / peak, num_cores() / threads)))


def _takes_all(settings: Settings) -> bool:
    return resolve_device(settings.device) != "cpu" or _threads(settings) is None


def _threads(settings: Settings) -> int | None:
    return threads_for(settings.backbone.shape().num_parameters, "cpu")


def run(settings: Settings, *, on_record: OnRecord | None = None) -> list[dict[str, Any]]:
    """Train, score and record every seed that is due in this process, and wait for those that others have.

    What is wrong before the first training step (data, backbone, method) raises and leaves nothing
    behind; what goes wrong later becomes a `failed` record, and the next seed goes on, or with
    `settings.fail_fast` none. A run that another worker has is left to it; if that worker dies, it is
    done here.

    Args:
        settings: One configuration.
        on_record: Called with each record as soon as it is known.

    Returns:
        The records that are there, in order of the seeds.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    grid = Grid.planned([((), settings)])
    reported = set()

    def report(record: dict[str, Any]) -> None:
        reported.add(record["seed"])
        if on_record is not None:
            on_record(record)

    try:
        work_on(grid, 0, on_record=report)
    finally:
        grid.remove()
    grid.clear_stale_files()
    found = grid.records(0)
    for record in found:
        if record["seed"] not in reported:
            report(record)
    return found


def work(grid: Grid, *, waits: bool) -> None:
    """Do every due run of a grid that is free; the grid keeps what prevents a configuration from being run.

    With `waits` also wait for runs that other workers have, and do those that are given up.
    """
    while True:
        for number in range(len(grid.configurations)):
            if grid.configurations[number].due and grid.error(number) is None:
                try:
                    work_on(grid, number, waits=False)
                except Exception as error:  # noqa: BLE001 - kept; the other configurations go on
                    if not isinstance(error, PedroBenchError):
                        sys.excepthook(type(error), error, error.__traceback__)
                    grid.keep_error(number, error)
        free, holders = grid.look()
        if not waits or not (free or holders):
            return
        if not free:
            time.sleep(seconds_between_looks(grid.configurations[0].settings.lease_seconds))


def work_on(
    grid: Grid, number: int, *, on_record: OnRecord | None = None, waits: bool = True
) -> None:
    """Do the runs of one configuration of a grid that are due and free; `on_record` gets each record.

    With `waits` also wait for runs that other workers have, and do those that are given up.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    refuse_splitting()
    grid.configurations[number].check_device()
    settings = grid.configurations[number].settings
    meet(settings.meeting_seconds)
    due = agreed_due(grid.configurations[number].due)
    if due:
        settings.check_room()
        settings.tracking.require_installed()
    if not is_main():
        settings = replace(settings, tracking=NoTracking())
    claims = Claims(settings, due, grid.snapshot, grid.name, lambda: grid.is_stopped)
    try:
        for record in _done(settings, claims, waits=waits):
            if on_record is not None:
                on_record(record)
            if settings.fail_fast and record["status"] == "failed":
                grid.stop()
    finally:
        claims.give_back()


def _done(settings: Settings, claims: Claims, *, waits: bool) -> Iterator[dict[str, Any]]:
    """Yield the record of every run that this worker gets to do."""
    while True:
        try:
            first = next(claims, None)
            if first is not None:
                from pedro_bench.runs.runner import run_seeds

                due = made_ready(settings, claims, occupying(settings, chain([first], claims)))
                with reasons_recorded(settings, claims):
                    yield from run_seeds(settings, due, claims.check)
        except TakenOver:
            if not claims.is_lost:
                raise
            _logger.warning("a run was taken over by another worker and is left to it.")
            continue
        if not (waits and claims.remaining):
            return
        claims.wait()
