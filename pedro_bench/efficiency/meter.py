"""Meter: time with the device brought to a stop, the highest memory, the memory's bandwidth.

`FirstToken` and `StepsClock` read the clock from within a generation and within a training.
"""

import gc
import time
from typing import Any

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria

from pedro_bench.errors import TrainingError
from pedro_bench.evaluation.batches import is_out_of_memory
from pedro_bench.runs.environment import process_peak_bytes, reset_process_peak
from pedro_bench.training import machine

_COPY_BYTES = 2**28
"""Of each of two buffers: far beyond the caches of a GPU, and little beside a backbone."""
_COPIES = {"cuda": 16, "cpu": 1}
"""Copies between two readings of the clock: on a GPU one is so short that the reading itself would show."""
_ROUNDS = 7


def now(device: torch.device) -> float:
    """Return the time in seconds after everything given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Begin anew to watch the highest memory (on other systems than Linux, a CPU's goes on)."""
    machine.reset_peak_memory(device)
    reset_process_peak()


def peak_bytes(device: torch.device) -> int:
    """Return the highest memory since `reset_peak`: the GPU's tensors, or this process."""
    on_gpu = machine.peak_memory_bytes(device)
    return process_peak_bytes() if on_gpu is None else on_gpu


def reserved_bytes(device: torch.device) -> int | None:
    """Return the highest memory that PyTorch held of a GPU since `reset_peak`; None elsewhere."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def release(device: torch.device) -> None:
    """Let go of what nobody holds any more, so that the next turn is not charged with it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def bandwidth(device: torch.device) -> float:
    """Return bytes per second, read and written, of the fastest of several rounds of large copies.

    Raises:
        TrainingError: If there is no room for two buffers beside the backbone.
    """
    try:
        return _copied_bytes_per_second(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"the device must have {2 * _COPY_BYTES // 2**20} MiB free beside the backbone to measure its "
            "bandwidth, got an allocation that failed: choose a smaller backbone, or end what else runs "
            "there."
        ) from error
    finally:
        release(device)


def _copied_bytes_per_second(device: torch.device) -> float:
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    copies, fastest = _COPIES[device.type], float("inf")
    for _ in range(_ROUNDS):
        started = now(device)
        for _ in range(copies):
            target.copy_(source)
        fastest = min(fastest, now(device) - started)
    return 2 * _COPY_BYTES * copies / fastest


def read_bytes(model: Any) -> int:
    """Return the bytes of weights that one decoding step reads: all but the embedding's other rows."""
    weights = {id(one): one for one in model.parameters()}
    whole = sum(int(one.nbytes) for one in weights.values())
    embedding = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embedding
    return whole if tied else whole - int(embedding.nbytes)


class FirstToken(StoppingCriteria):  # type: ignore[misc]  # the base class is Any to the checker
    """Notes when (`at`, in seconds) the first token of a generation is there; stops nothing."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Return for each row that it is not done."""
        if self.at is None:
            self.at = now(input_ids.device)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class StepsClock:
    """Times the optimiser steps of one training, whichever loop takes them: nothing before, nothing after.

    The clock starts where the backbone first begins a forward pass and stops after the last step: making
    batches in between counts, and building the loop, evaluating and saving do not. The device is brought
    to a stop only then.

    Args:
        decoder: The backbone's decoder, which every step runs.
        device: Where it lies.
        steps: Optimiser steps of the training.

    Attributes:
        seconds: Time of all steps; None before the last one.
        peak_bytes: Highest memory since the clock was made; None before the last step.
    """

    def __init__(self, decoder: nn.Module, device: torch.device, steps: int) -> None:
        self.seconds: float | None = None
        self.peak_bytes: int | None = None
        self._device = device
        self._steps = steps
        self._started = 0.0
        self._handle = decoder.register_forward_pre_hook(self._start)
        reset_peak(device)

    def step(self, number: int) -> None:
        """Take that an optimiser step is done, by its number from 1."""
        if number == self._steps:
            self.seconds = now(self._device) - self._started
            self.peak_bytes = peak_bytes(self._device)

    def _start(self, *_: Any) -> None:
        self._handle.remove()
        self._started = now(self._device)
