"""Where a run is made: device, threads, highest memory, time, versions of libraries and of the code.

None of it is in the key but the kind of device; a record holds it as provenance. Torch is imported only where
it is asked.
"""

import hashlib
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pedro_bench import __version__, distributed
from pedro_bench.errors import ConfigError

PACKAGE = Path(__file__).parent.parent

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def kind_of_device(device: str) -> str:
    """Return `cpu` or `cuda` for a setting, as keys hold it; `cuda` also where this machine has none.

    `auto` is `cuda` where a GPU and a PyTorch that can use it are there. Torch is not imported: an NVIDIA
    driver shows in the file system, and a CPU build in torch's version.
    """
    if device == "auto":
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        has_gpu = Path("/dev/nvidiactl").exists() and not hidden
        return "cuda" if has_gpu and not _is_cpu_build() else "cpu"
    return device.partition(":")[0]


def resolve_device(device: str) -> str:
    """Return the device of a setting for a process that will use it: `auto` becomes `cuda` or `cpu`.

    Raises:
        ConfigError: If a GPU is asked for and PyTorch is a CPU build.
    """
    if device == "auto":
        return kind_of_device(device)
    if device.startswith("cuda") and _is_cpu_build():
        raise ConfigError(
            f"device must be cpu with a CPU build of PyTorch, got {device!r}: install a CUDA build "
            "of torch, or set device=cpu."
        )
    return device


@cache
def _is_cpu_build() -> bool:
    return metadata.version("torch").endswith("+cpu")


@cache
def code_hash() -> str:
    """Return a SHA-256 over the package's modules, for a record's provenance; it is in no run's key.

    It is computed once for a process, whose code stays what it was when it was imported.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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
    """Return how many threads a run of a backbone has on a device, or None for PyTorch's own number."""
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
        "processes": distributed.launch().size,
        "platform": sys.platform,
        "code": code_hash(),
        **_git_state(),
    }


def reset_process_peak() -> None:
    """Begin anew to watch this process's highest memory (on other systems than Linux it goes on)."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def process_peak_bytes() -> int:
    """Return the highest memory of this process since `reset_process_peak`."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_bytes(gpu_bytes: int | None) -> dict[str, int | str]:
    """Return the highest memory in use, in bytes, and of what: the GPU, or this process."""
    if gpu_bytes is not None:
        return {"peak_bytes": gpu_bytes, "of": "gpu"}
    return {"peak_bytes": process_peak_bytes(), "of": "process"}


def now() -> str:
    """Return the time in UTC, in ISO 8601.

    To the millisecond: by its record a command knows whether a run was done again, and a run can fail twice
    within a second.
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _git_state() -> dict[str, Any]:
    """Return commit and dirtiness of the checkout this package runs from; None when installed.

    A package that is installed below another project's checkout, as in its .venv, is not part of it.
    Tables of rates do not count: the search has just written them, and a record has its rate itself.
    """
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = _git("status", "--porcelain", "--", ".", "../conf", ":(exclude)../conf/rates")
    return {"commit": commit, "dirty": bool(changed)}


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
