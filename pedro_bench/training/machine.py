"""What the machine brings to a training: random generators, determinism, precision, memory; its failures.

PyTorch's generators (CPU and the backbone's GPU) are all the randomness that training draws on
besides the batch order, which is a pure function of the seed; a method must draw from no other, unless
it seeds it from these and keeps its state in `runtime_state`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils import deterministic as torch_deterministic

from pedro_bench.errors import DivergenceError, TrainingError
from pedro_bench.protocols.head import Head
from pedro_bench.training.config import TrainerConfig


def gathered(accelerator: Accelerator, device: torch.device) -> dict[str, Tensor]:
    """Return every process's generator states: name -> (processes, bytes), uint8 on the CPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {
        name: accelerator.gather(state[None].to(accelerator.device)).cpu()
        for name, state in states.items()
    }


def restore(states: Mapping[str, Tensor], accelerator: Accelerator, device: torch.device) -> None:
    """Take back this process's part of what `gathered` gave."""
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


LEAST_TOKENS = 512
"""Down to where a smaller bound of positions is tried before other settings."""


DEV_LOSS = "dev loss"

EXPLODED = 50.0
"""Above this a loss has exploded: four times the nats that guessing costs in the largest vocabulary in use
(12.5 of 256,000 tokens), twice the greatest squared error of a score from 0 to 5."""


def largest_loss(head: Head | None) -> float:
    """Return above which loss training has exploded.

    A head whose output is a number begins near 0, wherever its scale lies: there twice the greatest squared
    error of 0 and of any number of the scale, where that is more than EXPLODED.
    """
    if head is None or head.labels:
        return EXPLODED
    greatest = max(abs(head.least), abs(head.most), head.most - head.least)
    return max(EXPLODED, 2 * greatest**2)


def out_of_memory(
    config: TrainerConfig,
    *,
    step: int,
    micro_batch_size: int,
    eval_batch_size: int,
    binding_tokens: int | None,
    is_evaluating: bool,
    can_checkpoint_gradients: bool,
) -> TrainingError:
    """Return the error that names the one setting to change next.

    Args:
        config: The settings in force.
        step: The step that was being taken, from 1.
        micro_batch_size: Examples per forward pass in force.
        eval_batch_size: Examples per forward pass of the dev loss in force.
        binding_tokens: `trainer.micro_batch_tokens` if it, and not a number of examples, bounded the
            largest pass, else None.
        is_evaluating: Whether the dev loss was being computed; answers have an error of their own.
        can_checkpoint_gradients: Whether the method allows it.
    """
    if binding_tokens is not None and binding_tokens > LEAST_TOKENS:
        portion, setting = binding_tokens, "trainer.micro_batch_tokens"
        remedy = f"trainer.micro_batch_tokens={binding_tokens // 2}"
    elif is_evaluating and eval_batch_size > 1:
        portion, remedy = eval_batch_size, f"trainer.eval_batch_size={eval_batch_size // 2}"
        setting = "trainer.eval_batch_size"
    else:
        portion, setting = micro_batch_size, "trainer.micro_batch_size"
        if micro_batch_size > 1:
            remedy = f"trainer.micro_batch_size={micro_batch_size // 2}"
        elif can_checkpoint_gradients and not config.gradient_checkpointing:
            remedy = "trainer.gradient_checkpointing=true"
        else:
            remedy = f"trainer.max_length={max(1, config.max_length // 2)}"
    return TrainingError(
        f"training must fit into memory, got out of memory at step {step} with {setting}={portion} "
        f"and trainer.max_length={config.max_length}: set {remedy} and start the run again."
    )


def require_finite(
    what: str,
    value: float,
    step: int,
    last_checkpoint: int | None,
    precision: str,
    bare_loss: Callable[[], float],
    largest: float = EXPLODED,
) -> None:
    """Require a loss or gradient norm that is finite, and a loss that has not exploded.

    Args:
        what: What the value is, such as `training loss`; the name of a loss ends so.
        value: The value; of a loss in nats per answer token, of a regression its squared error.
        step: The step that was being taken, from 1.
        last_checkpoint: Step of the last good checkpoint, or None.
        precision: `fp32` or `bf16`: in what the step was taken.
        bare_loss: Returns the loss of the same rows without the method, to tell whose fault the first is.
        largest: Above which a loss has exploded.

    Raises:
        DivergenceError: If the value is infinite or not a number, or a loss above `largest`; with the
            step and the last checkpoint.
    """
    is_loss = what.endswith("loss")
    if not math.isfinite(value):
        more = "" if precision == "fp32" else " or set trainer.precision=fp32"
        wanted, got = "finite", f"{value}"
    elif is_loss and value > largest:
        wanted, got, more = f"at most {largest:g}", f"{value:.1f}", ""
    else:
        return
    if step == 1 and what != DEV_LOSS:
        cause = _cause_at_the_start(bare_loss(), largest) if is_loss else _GRADIENT_AT_THE_START
        raise DivergenceError(
            f"the {what} must be {wanted}, got {got} at step 1, before any update: {cause}{more}."
        )
    good = f"step {last_checkpoint}" if last_checkpoint else "none was written yet"
    raise DivergenceError(
        f"the {what} must stay {wanted}, got {got} at step {step} (last good checkpoint: {good}): "
        f"lower the learning rate (method.lr or trainer.lr){more}."
    )


_GRADIENT_AT_THE_START = (
    "the loss is finite, so look for what has no derivative where the method starts, such as a root, a norm "
    "or a quotient at 0"
)


def _cause_at_the_start(bare_loss: float, largest: float) -> str:
    """Return what a loss that is bad before any update comes from, and where to look."""
    if math.isfinite(bare_loss) and bare_loss <= largest:
        return (
            f"the backbone without the method has a loss of {bare_loss:.2f} on the same rows, so look at "
            "what the method adds as it starts (its attach, its settings)"
        )
    return (
        "the backbone itself predicts these answers badly, so look for wrong weights or the tokenizer of "
        "another model (backbone.path, backbone.tokenizer_path)"
    )
