"""The clock of a training, the bandwidth of a device, and what is held of its memory."""

import pytest
import torch
from torch import nn

from pedro_bench.efficiency import meter
from pedro_bench.errors import TrainingError

CPU = torch.device("cpu")


def test_the_clock_runs_from_the_first_forward_to_the_last_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter((100.0, 107.5))
    monkeypatch.setattr(meter, "now", lambda _: next(times))
    decoder = nn.Linear(1, 1)
    clock = meter.StepsClock(decoder, CPU, steps=2)
    for step in (1, 2):
        decoder(torch.ones(1))
        assert clock.seconds is None
        assert clock.peak_bytes is None
        clock.step(step)
    decoder(torch.ones(1))  # an evaluation
    assert clock.seconds == 7.5
    assert clock.peak_bytes is not None
    assert clock.peak_bytes > 0
    assert not decoder._forward_pre_hooks


def test_bandwidth_counts_what_every_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(meter, "now", lambda _: next(times))
    monkeypatch.setattr(meter, "_COPY_BYTES", 1000)
    monkeypatch.setattr(meter, "_COPIES", {"cpu": 3})
    assert meter.bandwidth(CPU) == 6000.0


def test_the_buffers_of_the_bandwidth_are_small_beside_a_backbone() -> None:
    """Beyond the 50 to 126 MB of a GPU's cache, and far from what a backbone leaves free."""
    assert 2 * 126e6 < meter._COPY_BYTES <= 2**28


def test_no_room_for_the_bandwidth_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*given: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "ones", short)
    sentence = (
        "the device must have 512 MiB free beside the backbone .* got an allocation that failed"
    )
    with pytest.raises(TrainingError, match=sentence):
        meter.bandwidth(CPU)


def test_another_error_of_the_bandwidth_is_not_called_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: object, **options: object) -> None:
        raise RuntimeError("a device-side error")

    monkeypatch.setattr(torch, "ones", broken)
    with pytest.raises(RuntimeError, match="a device-side error"):
        meter.bandwidth(CPU)


def test_what_is_reserved_is_a_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 17)
    assert meter.reserved_bytes(torch.device("cuda")) == 17
    assert meter.reserved_bytes(CPU) is None
