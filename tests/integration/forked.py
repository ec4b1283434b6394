"""A command's process as a fork of one that has imported everything: what the faults are done to.

Importing PyTorch anew for every command would take most of the suite's time. What matters for a fault
is the same: a process of its own, with its own signals, memory, working folder and, where asked, mounts.
"""

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers.models.llama.modeling_llama  # noqa: F401  (SciPy's BLAS takes its memory here)

from pedro_bench.__main__ import main

NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS: mounts of this process are seen by no other."""


def perform(
    folder: str,
    overrides: Sequence[str],
    environment: Mapping[str, str],
    tmpfs: str | None,
    mebibytes: int | None,
) -> None:
    """Run `python -m pedro_bench OVERRIDES` in a folder; its output goes to files beside it.

    Args:
        folder: Where the command runs; its output goes to `FOLDER/PID.out` and `FOLDER/PID.err`.
        overrides: Its arguments.
        environment: Its environment.
        tmpfs: Options of a tmpfs to be mounted at `small` in the folder, or None.
        mebibytes: How much memory it may write beyond what it has, or None. Address space is not
            bounded: each thread reserves 64 MiB of it, so the machine's number of cores would count.
    """
    os.chdir(folder)
    for stream, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{os.getpid()}.{kind}", os.O_CREAT | os.O_WRONLY), stream)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    if tmpfs is not None:
        mount(tmpfs)
    if mebibytes is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        limit = pages * resource.getpagesize() + mebibytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    sys.exit(main(list(overrides)))


def mount(options: str) -> None:
    """Mount a tmpfs at `small` that this process alone sees.

    Raises:
        OSError: If it is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of one's own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", "small"], check=True)
