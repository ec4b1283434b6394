"""Leases: two workers never hold one run, and a dead one's is taken; clocks are never compared."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.grid.held_lease import BEATS_PER_LEASE
from pedro_bench.grid.lease_holder import Holder
from pedro_bench.grid.leases import Leases

REPOSITORY = Path(__file__).parents[3]
RUN = "lora--sst2--tiny--0123456789ab--seed0"


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def leave_a_lease_of_another_machine(folder: Path, *, seconds: float = 120) -> Path:
    """Write what a worker of another machine leaves."""
    owner = replace(Holder.this_process(), host="elsewhere")
    path = folder / "leases" / f"{RUN}.1"
    path.parent.mkdir(parents=True)
    path.write_text(f"{0:012d}" + json.dumps({"owner": vars(owner), "seconds": seconds}) + "\n")
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_run_is_held_by_one_worker_and_leaves_no_trace(tmp_path):
    first, second = Leases(tmp_path, 60), Leases(tmp_path, 60)
    lease = first.take(RUN)
    assert second.take(RUN) is None
    assert second.holder_name(RUN).endswith(f":{os.getpid()}")
    other = second.take("another-run")
    other.release(is_done=True)
    lease.release(is_done=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_given_back_unfinished_can_be_taken_again(tmp_path):
    for _ in range(3):
        lease = Leases(tmp_path, 60).take(RUN)
        assert lease is not None
        lease.release(is_done=False)
        assert Leases(tmp_path, 60).holder_name(RUN) is None
    assert len(files(tmp_path)) == 1
    assert Leases(tmp_path, 60).leased_stems() == {RUN}
    Leases(tmp_path, 60).take(RUN).release(is_done=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(
    what="A worker of another machine dies",
    how="its lease shows no sign of life",
    lost="nothing: its run is taken once the lease has lapsed",
)
def test_a_worker_of_another_machine_is_dead_when_its_number_stands_still(tmp_path):
    path = leave_a_lease_of_another_machine(tmp_path, seconds=120)
    watch = Watch()
    leases = Leases(tmp_path, 5, clock=watch)  # the holder's own lease counts, not the watcher's
    assert leases.take(RUN) is None
    watch.now = 119
    assert leases.take(RUN) is None
    path.write_text("1".zfill(12) + path.read_text()[12:])
    watch.now = 200  # a sign of life was seen since: the time begins anew
    assert leases.take(RUN) is None
    watch.now = 319
    assert leases.take(RUN) is None
    watch.now = 320
    lease = leases.take(RUN)
    assert lease is not None
    assert files(tmp_path) == [f"{RUN}.2"]
    lease.release(is_done=True)


@pytest.mark.fault(
    what="Clock going backwards, or wrong by decades",
    how="times of lease files 30 years off",
    lost="nothing: clocks are never compared",
)
@pytest.mark.parametrize("years", [-30, 30])
def test_file_times_do_not_matter(tmp_path, years):
    """The clock of one machine may be wrong by any amount, and go backwards."""
    path = leave_a_lease_of_another_machine(tmp_path)
    wrong = time.time() + years * 365 * 86400
    os.utime(path, (wrong, wrong))
    watch = Watch()
    leases = Leases(tmp_path, 120, clock=watch)
    assert leases.take(RUN) is None
    watch.now = 119
    assert leases.take(RUN) is None


@pytest.mark.fault(
    what="A lease file cut short",
    how="truncated to four bytes",
    lost="nothing: it counts as held until it lapses",
)
def test_a_lease_cut_short_is_held_by_somebody_until_it_lapses(tmp_path):
    path = leave_a_lease_of_another_machine(tmp_path)
    path.write_text("0000")
    watch = Watch()
    leases = Leases(tmp_path, 60, clock=watch)
    assert leases.take(RUN) is None
    assert leases.holder_name(RUN) == "another worker"
    watch.now = 60
    leases.take(RUN).release(is_done=True)


def test_a_lease_that_is_removed_while_it_is_opened_is_nobodys(tmp_path, monkeypatch):
    """What NFS says of a file that another machine has removed just now."""
    leave_a_lease_of_another_machine(tmp_path)

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as away:
        away.setattr(Path, "read_text", stale)
        assert Leases(tmp_path, 60).holder_name(RUN) is None
        assert not Leases(tmp_path, 60).is_held(RUN)


def test_a_run_is_held_by_who_lives(tmp_path):
    assert not Leases(tmp_path, 60).is_held(RUN)
    leave_a_lease_of_another_machine(tmp_path, seconds=120)
    watch = Watch()
    leases = Leases(tmp_path, 60, clock=watch)
    assert leases.is_held(RUN)
    watch.now = 120
    assert not leases.is_held(RUN)


def test_the_holder_shows_that_it_lives_and_learns_that_it_lost(tmp_path):
    is_told = threading.Event()
    lease = Leases(tmp_path, 0.1 * BEATS_PER_LEASE).take(RUN, is_told.set)
    path = tmp_path / "leases" / f"{RUN}.1"
    first = path.read_bytes()
    deadline = time.monotonic() + 60
    while path.read_bytes() == first and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.read_bytes() != first
    assert path.read_bytes()[12:] == first[12:]
    taken = path.with_suffix(".2")  # as another machine does that saw no sign for long
    taken.write_bytes(first)
    assert is_told.wait(60)
    lease.release(is_done=False)
    assert lease.is_lost
    assert taken.exists()


@pytest.mark.fault(
    what="A worker of this machine dies",
    how="SIGKILL while it holds a run",
    lost="nothing: its run is free at once",
)
def test_a_killed_worker_of_this_machine_gives_its_run_back_at_once(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; "
        "from pedro_bench.grid.leases import Leases; "
        f"lease = Leases(Path({str(tmp_path)!r}), 600).take({RUN!r}); "
        "print('held', flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with worker:
        assert worker.stdout.readline() == "held\n"
        leases = Leases(tmp_path, 600)
        assert leases.take(RUN) is None
        worker.send_signal(signal.SIGKILL)
        worker.wait(60)
    lease = leases.take(RUN)
    assert lease is not None
    lease.release(is_done=True)
    assert list(tmp_path.iterdir()) == []


RACER = """
import os, random, sys
from pathlib import Path
from pedro_bench.grid.leases import Leases
folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
leases = Leases(folder / "suite", 600)
print("ready", flush=True)
sys.stdin.readline()
left = [f"run{number}" for number in range(rounds)]
while left:
    for run in list(left):
        if (folder / f"{run}.done").exists():
            left.remove(run)
            continue
        lease = leases.take(run)
        if lease is None:
            continue
        if not (folder / f"{run}.done").exists():
            os.close(os.open(folder / f"{run}.busy", os.O_CREAT | os.O_EXCL))  # raises if two are at it
            if random.random() < 0.3:
                os.unlink(folder / f"{run}.busy")
                lease.release(is_done=False)
                continue
            (folder / f"{run}.done").write_text(name)
            os.unlink(folder / f"{run}.busy")
        lease.release(is_done=True)
        left.remove(run)
"""


@pytest.mark.fault(
    what="Many workers want the same runs",
    how="four processes, 60 runs, some given back unfinished",
    lost="nothing: every run is done once",
)
@pytest.mark.timeout(300)
def test_many_workers_do_every_run_once(tmp_path):
    """Every run is done by one of four processes; two at one run at once would be an error."""
    rounds = 60
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), f"worker{number}", str(rounds)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=250)
        assert worker.returncode == 0, errors
    assert len(list(tmp_path.glob("*.done"))) == rounds
    assert list(tmp_path.glob("*.busy")) == []
    assert not (tmp_path / "suite" / "leases").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match=r"leases must be writable, got .*results_dir=…"):
        Leases(tmp_path / "file", 60).take(RUN)


def test_a_place_where_no_folder_can_be_made_is_one_sentence(tmp_path, monkeypatch):
    """mkdir answers ENOENT in /proc and below an automounter's folder, as open does of a removed folder."""

    def refuse(*_args: object, **_named: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RecordError, match="must be writable, got No such file or directory"):
        Leases(tmp_path, 60).take(RUN)


@pytest.mark.parametrize("place", ["leases", "."])
def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path, place):
    suite = tmp_path / "suite"
    file = suite / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("in the way")
    for ask in (Leases(suite, 60).leased_stems, Leases(suite, 60).living_holders):
        with pytest.raises(RecordError, match="must be a folder, got a file there or above it"):
            ask()


@pytest.mark.parametrize(
    ("steps", "commands", "crashes"),
    [
        ((0, 0, 0), "aaa", [0, 1, 2]),
        ((0, 10, 10), "aaa", [0, 1, 2]),
        ((0, 10, 20), "aaa", [0, 1, 1]),  # it got further in between
        ((0, 0, 0), "aba", [0, 0, 0]),  # another command's worker
        ((0, 0, 0), "abb", [0, 0, 1]),
        ((0, 0, 0), "aab", [0, 1, 0]),  # another command tries anew
    ],
)
def test_deaths_of_a_commands_own_workers_are_counted(
    steps: tuple[int, ...],
    commands: str,
    crashes: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Holder, "is_dead", lambda _: True)
    found = []
    for saved, command in zip(steps, commands, strict=True):
        lease = Leases(tmp_path, 60, command=command).take(RUN, saved_steps=saved)
        assert lease is not None
        found.append(lease.crashes)
    assert found == crashes


def test_who_gives_a_run_back_has_not_died(tmp_path: Path) -> None:
    for _ in range(3):
        lease = Leases(tmp_path, 60, command="a").take(RUN)
        assert lease is not None
        assert lease.crashes == 0
        lease.release(is_done=False)


def test_a_watcher_frees_the_run_of_a_holder_that_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(tmp_path, 60, command="a")
    assert leases.take(RUN) is not None
    leases.free_if_dead(RUN)
    assert leases.holder_name(RUN) is not None  # its holder lives
    monkeypatch.setattr(Holder, "is_dead", lambda _: True)
    leases.free_if_dead(RUN)
    assert leases.holder_name(RUN) is None
    lease = leases.take(RUN)
    assert lease is not None
    assert lease.crashes == 1


def test_a_death_counts_for_the_holders_command_whichever_command_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two commands that watch one folder either may see first that a worker died."""
    assert Leases(tmp_path, 60, command="a").take(RUN) is not None
    monkeypatch.setattr(Holder, "is_dead", lambda _: True)
    Leases(tmp_path, 60, command="b").free_if_dead(RUN)
    lease = Leases(tmp_path, 60, command="a").take(RUN)
    assert lease is not None
    assert lease.crashes == 1


def test_a_new_holder_is_not_taken_for_one_that_was_seen_long_ago(tmp_path: Path) -> None:
    """A run that is given back without a trace begins at the first generation and a beat of 0 again."""
    path = leave_a_lease_of_another_machine(tmp_path)
    watch = Watch()
    leases = Leases(tmp_path, 60, clock=watch)
    assert leases.is_held(RUN)
    path.unlink()
    path.parent.rmdir()
    watch.now = 3600
    leave_a_lease_of_another_machine(tmp_path)
    assert leases.take(RUN) is None
    watch.now = 3600 + 120
    assert not leases.is_held(RUN)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"0" * 12 + b'{"owner": {"pid": "x"}}'])
def test_a_lease_that_is_no_lease_is_held_by_somebody_until_it_lapses(
    content: bytes, tmp_path: Path
) -> None:
    """Such as what macOS leaves next to files on a disk of another system."""
    path = leave_a_lease_of_another_machine(tmp_path)
    path.write_bytes(content)
    watch = Watch()
    leases = Leases(tmp_path, 60, clock=watch)
    assert leases.living_holders() == set()
    assert leases.holder_name(RUN) == "another worker"
    assert leases.take(RUN) is None
    watch.now = 60
    lease = leases.take(RUN)
    assert lease is not None
    lease.release(is_done=True)
