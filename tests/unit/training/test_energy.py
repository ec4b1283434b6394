"""Energy: counters that go around, that are missing or break; a training that adds up what they tell."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pedro_bench import distributed
from pedro_bench.runs import phases
from pedro_bench.training import energy, loop
from pedro_bench.training.energy import Counter, EnergyMeter, meter_of

CPU = torch.device("cpu")


def package(folder: Path, name: str, joules: float, span: float = 262144.0) -> Path:
    """Write a counter as Linux shows it, in microjoules."""
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(span * 1e6)}\n")
    return folder


def is_counted(device: torch.device) -> bool:
    """Whether a device's meter knows what it took between two readings."""
    meter = meter_of(device)
    meter.start()
    return meter.added_to(0.0) is not None


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "powercap"
    folder.mkdir()
    (tmp_path / "cpuinfo").write_text("vendor_id : GenuineIntel\n")
    monkeypatch.setattr(energy, "POWERCAP", folder)
    monkeypatch.setattr(energy, "CPUINFO", tmp_path / "cpuinfo")
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(energy, "_clock", lambda: now[0])
    return now


def test_packages_are_added_up_and_go_around(powercap: Path, clock: list[float]) -> None:
    first = package(powercap / "intel-rapl:0", "package-0", 10.0, span=9000.0)
    second = package(powercap / "intel-rapl:a", "package-10", 8995.0, span=9000.0)
    package(powercap / "intel-rapl:0:0", "dram", 1.0)
    package(powercap / "intel-rapl:2", "psys", 1.0)  # the platform, which holds both
    package(powercap / "intel-rapl-mmio:0", "package-0", 1.0)  # the first once more
    meter = meter_of(CPU)
    meter.start()
    package(first, "package-0", 13.5, span=9000.0)
    package(second, "package-10", 2.0, span=9000.0)  # 5 up to its span, and 2
    package(powercap / "intel-rapl:0:0", "dram", 50.0)
    clock[0] += 8.0
    assert meter.added_to(1.0) == pytest.approx(1.0 + 3.5 + 7.0)
    assert meter.added_to(None) is None
    meter.start()
    assert meter.added_to(0.0) == 0.0
    clock[0] += 9.0  # at 1,000 W it may have gone around
    assert meter.added_to(0.0) is None


def test_dies_are_packages_of_intel_alone(powercap: Path) -> None:
    package(powercap / "intel-rapl:0", "package-0-die-0", 1.0)
    package(powercap / "intel-rapl:1", "package-0-die-1", 1.0)
    assert is_counted(CPU)
    energy.CPUINFO.write_text("vendor_id : AuthenticAMD\n")
    assert not is_counted(CPU)  # each would be the whole package


def test_without_counters_nothing_is_measured(powercap: Path) -> None:
    assert not is_counted(CPU)
    package(powercap / "intel-rapl:0", "psys", 1.0)
    assert not is_counted(CPU)
    package(powercap / "intel-rapl:1", "package-0", 1.0)
    second = package(powercap / "intel-rapl:2", "package-1", 1.0)
    assert is_counted(CPU)
    for file in ("energy_uj", "max_energy_range_uj"):
        kept = (second / file).read_text()
        (second / file).unlink()
        (second / file).mkdir()  # reading it fails, as it does without the permission
        assert not is_counted(CPU)  # one package of two would be half the truth
        (second / file).rmdir()
        (second / file).write_text(kept)


def test_workers_that_share_a_device_measure_nothing(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(powercap / "intel-rapl:0", "package-0", 10.0)
    assert is_counted(CPU)
    monkeypatch.setenv(distributed.SHARED_DEVICES, "cpu,cuda")
    assert not is_counted(CPU)
    monkeypatch.setenv(distributed.SHARED_DEVICES, "cuda")
    assert is_counted(CPU)
    monkeypatch.setenv(distributed.SHARED_DEVICES, "")
    assert is_counted(CPU)


def test_a_counter_that_breaks_leaves_the_energy_unknown() -> None:
    readings = iter([2.0, 6.0, 7.0])

    def read() -> float:
        for value in readings:
            return value
        raise OSError("gone")

    meter = EnergyMeter([Counter(read)])
    meter.start()
    assert meter.added_to(0.5) == 4.5
    meter.start()
    assert meter.added_to(4.5) is None  # it is gone at the end
    meter.start()
    assert meter.added_to(4.5) is None  # and at the start


def test_a_gpu_is_asked_by_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    taken = iter([5000, 7500, 8000, 8000])
    asked: list[str] = []

    def handle(name: str) -> str:
        asked.append(name)
        if name != "GPU-1234":
            raise NVMLError("not found")
        return "handle"

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(taken),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpu = torch.device("cuda", 0)
    known = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: known)
    meter = meter_of(gpu)
    meter.start()
    assert meter.added_to(0.0) == 2.5  # NVML counts in millijoules
    known.uuid = "part-of-a-gpu"
    assert not is_counted(gpu)
    assert asked == ["GPU-1234", "GPU-part-of-a-gpu"]
    known.uuid = "1234"
    assert is_counted(gpu)
    del nvml.nvmlDeviceGetTotalEnergyConsumption  # an older package of this name
    assert not is_counted(gpu)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert not is_counted(gpu)


def counting(joules: float) -> Callable[[Any], EnergyMeter]:
    """Return meters that tell so much from a start to its end, and as much between two of them."""
    total = [0.0]

    def read() -> float:
        total[0] += joules
        return total[0]

    return lambda _: EnergyMeter([Counter(read)])


@pytest.fixture
def trained(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """A function that trains with a device's meter and returns the result; keywords change the protocol."""

    def train(meter: Callable[[Any], EnergyMeter], folder: str, **changes: Any) -> Any:
        monkeypatch.setattr(loop, "meter_of", meter)
        return run_training(lora, short(**changes), folder)[1]

    return train


def test_a_training_adds_up_over_its_restarts(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncounted(_: Any) -> EnergyMeter:
        return EnergyMeter()

    # Eight steps and, after every second, an evaluation are counted one by one.
    assert trained(counting(2.0), "whole").train_joules == 12 * 2.0
    assert trained(uncounted, "whole").train_joules == 12 * 2.0  # it was at its end

    class StoppedError(Exception):
        pass

    save = loop.CheckpointStore.save

    def stop_at_four(store: Any, checkpoint: Any) -> None:
        save(store, checkpoint)
        if checkpoint.step == 4:
            raise StoppedError

    for folder, following, wanted in (
        ("again", counting(3.0), 6 * 2.0 + 6 * 3.0),
        ("moved", uncounted, None),  # to a machine without a counter
    ):
        with monkeypatch.context() as patched:
            patched.setattr(loop.CheckpointStore, "save", stop_at_four)
            with pytest.raises(StoppedError):
                trained(counting(2.0), folder)
        result = trained(following, folder)
        assert (result.resumed_from, result.train_joules) == (4, wanted)


def test_phases_add_up_and_one_unknown_leaves_all_unknown(trained: Callable[..., Any]) -> None:
    known = trained(counting(2.0), "run", max_steps=2)
    unknown = replace(known, train_joules=None)
    assert phases._joined([known, known]).train_joules == 12.0
    assert phases._joined([known, unknown]).train_joules is None
    assert phases._joined([unknown, known]).train_joules is None


def test_processes_that_share_a_run_measure_nothing(
    trained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.distributed, "is_one_of_several", lambda: True)
    assert trained(counting(2.0), "run", max_steps=2).train_joules is None


def test_a_checkpoint_that_says_nothing_of_energy_leaves_it_unknown() -> None:
    state = loop.LoopState(step=3, train_joules=9.0)
    values = state.to_json()
    assert loop.LoopState.from_json(values).train_joules == 9.0
    del values["train_joules"]
    assert loop.LoopState.from_json(values).train_joules is None
