"""What the machine brings to a training: random generators, determinism, precision, memory.

PyTorch's generators (CPU and the backbone's GPU) are all the randomness that training draws on
besides the batch order, which is a pure function of the seed; a method must draw from no other, unless
it seeds it from these and keeps its state in `runtime_state`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils import deterministic as torch_deterministic


def random_states(accelerator: Accelerator, device: torch.device) -> dict[str, Tensor]:
    """Return every process's generator states: name -> (processes, bytes), uint8 on the CPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {
        name: accelerator.gather(state[None].to(accelerator.device)).cpu()
        for name, state in states.items()
    }


def restore_random_states(
    states: Mapping[str, Tensor], accelerator: Accelerator, device: torch.device
) -> None:
    """Take back this process's part of what `random_states` gave."""
    torch.set_rng_state(states["cpu"][accelerator.process_index].clone())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][accelerator.process_index].clone(), device)


def is_any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether a flag is set in any process of the run."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.gather(torch.tensor([flag], dtype=torch.uint8, device=accelerator.device))
    return bool(flags.any())


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, let PyTorch use deterministic algorithms for the time of a `with` block.

    On a GPU nothing is changed: some kernels have no deterministic form, and the promise of equal
    bits is for the CPU.
    """
    if device.type != "cpu":
        yield
        return
    was_on = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch_deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch_deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warn_only)
        torch_deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def resolved_precision(precision: str, device: torch.device) -> str:
    """Return `fp32` or `bf16` for a setting: `auto` is bf16 on a GPU."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" else "fp32"


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new measurement of the highest memory in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the highest GPU memory in use since the reset, or None on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return None
