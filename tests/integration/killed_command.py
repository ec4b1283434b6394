"""Run one whole command in processes that are killed again and again; run by `test_resume.py`.

    python killed_command.py FOLDER OVERRIDE...

In FOLDER/whole the command runs undisturbed; in FOLDER/killed every attempt is a process of its own
that SIGKILL ends, at a random flush to the disk or a random rename, until one comes through. The output
tells how many were killed. PEDRO_BENCH_SEED decides the choices; with PEDRO_BENCH_KILLS=30 so many
are killed, sooner.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import pedro_bench.runs.runner  # noqa: F401  (imported once: every attempt is a fork)
from pedro_bench.__main__ import main as command

MOST_ATTEMPTS = 60


def die_after(acts: int) -> None:
    """Let this process kill itself just before its n-th flush or rename."""
    left = iter(range(acts, -1, -1))

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*arguments: Any, **options: Any) -> Any:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*arguments, **options)

        return perform

    os.fsync, os.replace, os.rename = dying(os.fsync), dying(os.replace), dying(os.rename)


def attempt(folder: Path, overrides: list[str], acts: int | None) -> int:
    """Run the command in a process of its own; return its wait status."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        if acts is not None:
            die_after(acts)
        try:
            code = command(overrides)
        except SystemExit as error:
            code = error.code
        os._exit(int(code or 0))
    return os.waitpid(child, 0)[1]


def main(work: Path, overrides: list[str]) -> None:
    torch.set_num_threads(1)
    for name in ("whole", "killed"):
        (work / name).mkdir()
    if attempt(work / "whole", overrides, None) != 0:
        sys.exit("the uninterrupted command failed")
    choose = random.Random(int(os.environ["PEDRO_BENCH_SEED"]))
    wanted = int(os.environ.get("PEDRO_BENCH_KILLS", "0"))
    for num_killed in range(MOST_ATTEMPTS + 1):
        acts = choose.randrange(45) if num_killed < MOST_ATTEMPTS else None
        if wanted:
            acts = choose.randrange(10) if num_killed < wanted else None
        status = attempt(work / "killed", overrides, acts)
        if status == 0:
            sys.stdout.write(json.dumps({"killed": num_killed}))
            return
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(f"a restarted command failed with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
