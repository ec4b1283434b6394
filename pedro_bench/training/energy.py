"""Energy of a training in joules, read from the device's own counter.

An NVIDIA GPU counts what it takes (NVML, from Volta on; extra `energy`). The packages of processors count
theirs under Linux (powercap), where this user may read it; memory is not in it. A counter is of the whole
device: what else runs there is in it. Of workers that one command keeps side by side on one device,
and where nothing counts, nothing is recorded; nothing is estimated from a device's rated power.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pedro_bench.distributed import SHARED_DEVICES

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of the packages, one folder each."""
CPUINFO = Path("/proc/cpuinfo")

MOST_WATTS = 1000.0
"""More than a package takes: a counter that may have gone around since its last reading is not believed."""


@dataclass(frozen=True)
class Counter:
    """One counter of a device.

    Attributes:
        read: Returns joules since some moment in the past. Raises OSError where it cannot be read.
        span: Joules after which it begins again at 0; None where it never does.
    """

    read: Callable[[], float]
    span: float | None = None

    def rise(self, before: float, after: float, seconds: float) -> float | None:
        """Return the joules between two readings, None where it may have gone around more than once."""
        if self.span is None:
            return after - before
        if seconds * MOST_WATTS >= self.span:
            return None
        return after - before if after >= before else after - before + self.span


class EnergyMeter:
    """A stopwatch of joules over all counters of a device; without one it never knows any."""

    def __init__(self, counters: Sequence[Counter] = ()) -> None:
        self._counters = tuple(counters)
        self._begun: tuple[list[float], float] | None = None

    def start(self) -> None:
        """Begin to measure now."""
        self._begun = self._read()

    def added_to(self, joules: float | None) -> float | None:
        """Return `joules` with those since the start; None if either is unknown.

        They are unknown where a counter cannot be read, or was read so long ago that it may have gone around:
        with 65,536 J, AMD's span, after a minute, with Intel's after four.
        """
        begun, ended = self._begun, self._read()
        if joules is None or begun is None or ended is None:
            return None
        seconds = ended[1] - begun[1]
        for counter, before, after in zip(self._counters, begun[0], ended[0], strict=True):
            risen = counter.rise(before, after, seconds)
            if risen is None:
                return None
            joules += risen
        return joules

    def _read(self) -> tuple[list[float], float] | None:
        try:
            values = [one.read() for one in self._counters]
        except OSError:
            return None
        return (values, _clock()) if values else None


def meter_of(device: torch.device) -> EnergyMeter:
    """Return a meter of a device, without counters where it has none that can be read, or others share it."""
    if device.type in os.environ.get(SHARED_DEVICES, "").split(","):
        return EnergyMeter()
    try:
        return EnergyMeter(_gpu(device) if device.type == "cuda" else _packages())
    except OSError:
        return EnergyMeter()


def _clock() -> float:
    """Return seconds, those in which the machine slept too, where the system tells them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _packages() -> Sequence[Counter]:
    """Return the counters of all packages of this machine's processors.

    Some kernels show one package of AMD as many dies, each with the whole package's counter: none are
    returned then.

    Raises:
        OSError: If one cannot be read.
    """
    found = []
    for folder in sorted(POWERCAP.glob("intel-rapl:*")):  # AMD's have this name too
        name = (folder / "name").read_text()
        if not name.startswith("package"):
            continue  # a part of a package, or the platform
        if "-die-" in name and "GenuineIntel" not in CPUINFO.read_text():
            return ()
        span = _joules(folder / "max_energy_range_uj")
        found.append(Counter(partial(_joules, folder / "energy_uj"), span))
    return found


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _gpu(device: torch.device) -> Sequence[Counter]:
    """Return the counter of a GPU; none without the extra, before Volta, and of a part of a GPU (MIG)."""
    try:
        import pynvml
    except ImportError:
        return ()
    # Older packages of this name lack functions, and take no text.
    unable = (pynvml.NVMLError, AttributeError, TypeError)
    try:
        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
    except unable:
        return ()

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except unable as error:
            raise OSError(str(error)) from error

    return (Counter(read),)
