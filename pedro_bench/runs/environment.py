"""Under which versions, on which device and from which commit a run was made."""

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from pedro_bench import __version__, ranks
from pedro_bench.runs.identity import PACKAGE, code_hash

_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors")

SMALL_PARAMETERS = 20_000_000
"""A backbone below this size gets one thread on the CPU."""


def fit_threads(parameters: int, device: str) -> None:
    """Give torch one thread for a small backbone on the CPU, else as many as it started with.

    The matrices of a small backbone are too small to be shared: more threads take more of the machine and
    little less time, and beside other work each waits for the other. Its results are then also the same on
    any number of cores. A value of OMP_NUM_THREADS wins.

    Args:
        parameters: Parameters of the backbone.
        device: Where it lies, such as `cpu` or `cuda:0`.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        at_start = _threads_at_start()
        torch.set_num_threads(threads_for(parameters, device) or at_start)


def threads_for(parameters: int, device: str) -> int | None:
    """Return how many threads a run has, whatever else runs beside it, or None for PyTorch's own number.

    Args:
        parameters: Parameters of the backbone.
        device: Where it lies, such as `cpu` or `cuda:0`.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    if given is not None:
        return int(given) if given.isdecimal() else None
    return 1 if device == "cpu" and parameters < SMALL_PARAMETERS else None


@cache
def _threads_at_start() -> int:
    import torch

    return torch.get_num_threads()


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, device, threads, processes, hash of the code, commit and state of the tree."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        "versions": {
            "python": platform.python_version(),
            "pedro_bench": __version__,
            **{package: metadata.version(package) for package in _PACKAGES},
        },
        "device": device.partition(":")[0],
        "device_name": name,
        "threads": torch.get_num_threads(),
        "processes": ranks.launch().size,
        "platform": sys.platform,
        "code": code_hash(),
        **_git_state(),
    }


def peak_bytes(gpu_bytes: int | None) -> dict[str, int | str]:
    """Return the highest memory in use, in bytes, and of what: the GPU, or this process."""
    if gpu_bytes is not None:
        return {"peak_bytes": gpu_bytes, "of": "gpu"}
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "of": "process",
    }


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git_state() -> dict[str, Any]:
    """Return commit and dirtiness of the checkout this package runs from; None when installed."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", ".", "../conf"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
