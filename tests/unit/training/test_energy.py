"""Energy: counters that go around, that are missing or break; a training that adds up what they tell."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pedro_bench.training import energy, trainer
from pedro_bench.training.energy import Counter, EnergyMeter, meter_of

CPU = torch.device("cpu")


def package(folder: Path, name: str, joules: float, span: float = 100.0) -> Path:
    """Write a counter as Linux shows it, in microjoules."""
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(span * 1e6)}\n")
    return folder


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def test_packages_are_added_up_and_go_around(powercap: Path) -> None:
    first = package(powercap / "intel-rapl:0", "package-0", 10.0)
    second = package(powercap / "intel-rapl:1", "package-1", 95.0)
    package(powercap / "intel-rapl:0:0", "core", 1.0)  # part of the first package
    package(powercap / "intel-rapl:2", "psys", 1.0)  # the platform, which holds both
    meter = meter_of(CPU)
    assert meter is not None
    package(first, "package-0", 13.5)
    package(second, "package-1", 2.0)  # 5 up to its span, and 2
    package(powercap / "intel-rapl:0:0", "core", 50.0)
    assert meter.add_to(1.0) == pytest.approx(1.0 + 3.5 + 7.0)
    assert meter.add_to(0.0) == 0.0
    assert meter.add_to(None) is None


def test_without_counters_nothing_is_measured(powercap: Path) -> None:
    assert meter_of(CPU) is None
    package(powercap / "intel-rapl:0", "psys", 1.0)
    assert meter_of(CPU) is None
    package(powercap / "intel-rapl:1", "package-0", 1.0)
    hidden = package(powercap / "intel-rapl:2", "package-1", 1.0) / "energy_uj"
    hidden.unlink()
    hidden.mkdir()  # reading it fails, as it does without the permission
    assert meter_of(CPU) is None  # one package of two would be half the truth


def test_a_counter_that_breaks_ends_the_measurement() -> None:
    readings = iter([1.0, 4.0])

    def read() -> float:
        for value in readings:
            return value
        raise OSError("gone")

    meter = EnergyMeter([Counter(read)])
    assert meter.add_to(0.0) == 3.0
    assert meter.add_to(3.0) is None


def test_a_gpu_is_asked_by_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    taken = iter([5000, 7500])
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
    assert meter is not None
    assert meter.add_to(0.0) == 2.5  # NVML counts in millijoules
    known.uuid = "part-of-a-gpu"
    assert meter_of(gpu) is None
    assert asked == ["GPU-1234", "GPU-part-of-a-gpu"]
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert meter_of(gpu) is None


def test_a_training_adds_up_over_its_restarts(
    run_training: Callable[..., Any],
    short: Callable[..., Any],
    lora: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def counting(joules_a_reading: float) -> Callable[[Any], EnergyMeter]:
        total = [0.0]

        def read() -> float:
            total[0] += joules_a_reading
            return total[0]

        return lambda _: EnergyMeter([Counter(read)])

    monkeypatch.setattr(trainer, "meter_of", counting(2.0))
    assert run_training(lora, short(), "whole")[1].train_joules == 8 * 2.0

    class StoppedError(Exception):
        pass

    save = trainer.CheckpointStore.save

    def stop_at_four(store: Any, checkpoint: Any) -> None:
        save(store, checkpoint)
        if checkpoint.step == 4:
            raise StoppedError

    for folder, following, wanted in (
        ("again", counting(3.0), 4 * 2.0 + 4 * 3.0),
        ("moved", lambda _: None, None),  # to a machine without a counter
    ):
        with monkeypatch.context() as patched:
            patched.setattr(trainer, "meter_of", counting(2.0))
            patched.setattr(trainer.CheckpointStore, "save", stop_at_four)
            with pytest.raises(StoppedError):
                run_training(lora, short(), folder)
        monkeypatch.setattr(trainer, "meter_of", following)
        result = run_training(lora, short(), folder)[1]
        assert (result.resumed_from, result.train_joules) == (4, wanted)


def test_a_checkpoint_that_says_nothing_of_energy_leaves_it_unknown() -> None:
    state = trainer.LoopState(step=3, train_joules=9.0)
    values = state.to_json()
    assert trainer.LoopState.from_json(values).train_joules == 9.0
    del values["train_joules"]
    assert trainer.LoopState.from_json(values).train_joules is None
