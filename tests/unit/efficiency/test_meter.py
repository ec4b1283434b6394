"""The clock of a training: its steps, and neither what comes before nor what comes after."""

import pytest
import torch
from torch import nn

from pedro_bench.efficiency import meter

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
