"""Workers in processes of this machine: as many as are asked for, for as long as there are runs for them.

A worker that dies is replaced, and so is one that left before a time limit; one that was asked to end, or
that could not begin, is not. A worker ends by itself if this process is gone.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pedro_bench.grid.costs import modelled_cost
from pedro_bench.grid.grid import Grid
from pedro_bench.protocols.settings import Settings
from pedro_bench.ranks import is_one_of_several
from pedro_bench.runs.environment import threads_for
from pedro_bench.runs.identity import resolve_device
from pedro_bench.training.interruption import ENDING, Interrupted, grace_after, taken_by
from pedro_bench.training.progress import Board

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
    """Keep up to so many workers on this machine at work until no run of a shared grid is left.

    Args:
        grid: The grid; what became of it stands in records and in the grid's folder.
        number: The most workers at a time.
        waits: Whether to wait for runs that other commands have, and do those that they give up.
        **variables: Variables of the workers' environment; None removes one.

    Raises:
        Interrupted: If this process was asked to end, once its workers have saved.
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
    """Whether a worker that has ended is not to be replaced; the reason is then told."""
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


def number_of_workers(grid: Grid) -> int:
    """Return how many workers a command has on this machine, never more than due runs.

    `workers=auto` gives one where a run takes a GPU or several threads, else one for each core as far as
    the memory reaches. The threads of a run do not depend on it.
    """
    due = [one for one in grid.configurations if one.due]
    asked = due[0].settings.workers if due else 1
    most = sum(len(one.due) for one in due)
    if is_one_of_several():
        return 1
    if isinstance(asked, int):
        return min(asked, most)
    if most < 2 or any(_takes_all(one.settings) for one in due):
        return min(1, most)
    peak = PROCESS_BYTES + max(modelled_cost(one.settings).peak_bytes for one in due)
    threads = max(_threads(one.settings) or 1 for one in due)
    return max(1, min(most, int(free_bytes() // peak), int(num_cores() // threads)))


def _takes_all(settings: Settings) -> bool:
    return resolve_device(settings.device) != "cpu" or _threads(settings) is None


def _threads(settings: Settings) -> int | None:
    return threads_for(settings.backbone.shape().num_parameters, "cpu")


def num_cores() -> float:
    """Return how many cores this process may use, by its affinity and its control group."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    quota, _, period = _group("cpu.max").partition(" ")
    return min(cores, max(1.0, int(quota) / int(period))) if quota.isdecimal() else cores


def free_bytes() -> float:
    """Return how much memory this process may still take, or infinity where that is not known."""
    with contextlib.suppress(OSError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = 1024.0 * int(text.split("MemAvailable:")[1].split()[0])
        limit, used = _group("memory.max"), _group("memory.current")
        is_limited = limit.isdecimal() and used.isdecimal()
        return min(free, float(int(limit) - int(used))) if is_limited else free
    return float("inf")


def _group(name: str) -> str:
    """Return a value of this process's control group, or nothing where there is none."""
    with contextlib.suppress(OSError):
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
    return ""
