"""The cores and the memory that this process may still use, by its control groups too."""

import contextlib
import os
from pathlib import Path

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux shows control groups (version 2), and which of them is this process's."""


def num_cores() -> float:
    """Return how many cores this process may use, by its affinity and its control groups."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = float(len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)
    for group in _groups():
        quota, _, period = _value(group, "cpu.max").partition(" ")
        if quota.isdecimal():
            cores = min(cores, max(1.0, int(quota) / int(period)))
    return cores


def free_bytes() -> float:
    """Return how much memory this process may still take, or infinity where that is not known."""
    with contextlib.suppress(OSError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = 1024.0 * int(text.split("MemAvailable:")[1].split()[0])
        return min(free, *map(_free_in, _groups()))
    return float("inf")


def _free_in(group: Path) -> float:
    """Return the bytes that a control group leaves: files in memory that nothing uses make way."""
    limit, used = _value(group, "memory.max"), _value(group, "memory.current")
    if not (limit.isdecimal() and used.isdecimal()):
        return float("inf")
    cached = _value(group, "memory.stat").partition("inactive_file ")[2].partition("\n")[0]
    return float(int(limit) - int(used) + int(cached or 0))


def _groups() -> list[Path]:
    """Return the folders of this process's control group and of those above it, whose bounds hold too."""
    own = ""
    with contextlib.suppress(OSError):
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "")
    folder = CGROUPS / own.strip("/")
    return [one for one in (folder, *folder.parents) if one.is_relative_to(CGROUPS)]


def _value(group: Path, name: str) -> str:
    """Return a value of a control group, or nothing where there is none."""
    with contextlib.suppress(OSError):
        return (group / name).read_text(encoding="ascii").strip()
    return ""
