"""Energy of a training in joules, read from the device's own counter.

An NVIDIA GPU counts what it takes (NVML, from Volta on; extra `energy`). The packages of processors count
theirs under Linux (powercap), where this user may read it. A counter is of the whole device: what else runs
there is in it. Where nothing counts, nothing is recorded; nothing is estimated from a device's rated power.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of the packages, one folder each."""

_PACKAGE = re.compile(r"intel-rapl:\d+")
"""Folders of packages and of platforms; parts of a package have a second number. AMD's have Intel's name."""


@dataclass(frozen=True)
class Counter:
    """One counter of a device.

    Attributes:
        read: Returns joules since some moment in the past. Raises OSError where it cannot be read.
        span: Joules after which it begins again at 0; None where it never does.
    """

    read: Callable[[], float]
    span: float | None = None


class EnergyMeter:
    """What the counters of a device add up to."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        """Begin to measure now.

        Args:
            counters: At least one.

        Raises:
            OSError: If one cannot be read.
        """
        self._counters = tuple(counters)
        self._read = [one.read() for one in self._counters]

    def add_to(self, joules: float | None) -> float | None:
        """Return `joules` with those since the last call; None if there were none or a counter is gone.

        A counter with a span must be asked before it has gone around once, which takes minutes to hours.
        """
        try:
            now = [one.read() for one in self._counters]
        except OSError:
            return None
        for counter, value, before in zip(self._counters, now, self._read, strict=True):
            joules = None if joules is None else joules + _rise(value - before, counter.span)
        self._read = now
        return joules


def meter_of(device: torch.device) -> EnergyMeter | None:
    """Return a meter of a device, or None where it has no counter that can be read."""
    counters = _gpu(device) if device.type == "cuda" else _packages()
    try:
        return EnergyMeter(counters) if counters else None
    except OSError:
        return None


def _rise(difference: float, span: float | None) -> float:
    return difference + span if difference < 0 and span is not None else difference


def _packages() -> Sequence[Counter]:
    """Return the counters of all packages of this machine's processors; none if one has no span."""
    found = []
    for folder in sorted(POWERCAP.glob("intel-rapl:*")):
        try:
            if not _PACKAGE.fullmatch(folder.name):
                continue
            if (folder / "name").read_text().startswith("package"):
                span = _joules(folder / "max_energy_range_uj")
                found.append(Counter(partial(_joules, folder / "energy_uj"), span))
        except OSError:
            return ()
    return found


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _gpu(device: torch.device) -> Sequence[Counter]:
    """Return the counter of a GPU; none without the extra, before Volta, and of a part of a GPU (MIG)."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
    except pynvml.NVMLError:
        return ()

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    return (Counter(read),)
