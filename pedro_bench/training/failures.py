"""Failures of a running training, as one sentence with the setting to change."""

import math

import torch

from pedro_bench.errors import DivergenceError, TrainingError
from pedro_bench.training.config import TrainerConfig

_CPU_EXHAUSTED = "can't allocate memory"
"""What PyTorch's CPU allocator says in a plain RuntimeError."""

LEAST_TOKENS = 512
"""Down to where a smaller bound of positions is tried before other settings."""


EXPLODED = 50.0
"""Nats per answer token above which a loss has exploded: four times what guessing costs in the largest
vocabulary that is in use (256,000 tokens, 12.5 nats)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on a GPU or in the machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and _CPU_EXHAUSTED in str(error)
    )


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
        is_evaluating: Whether the dev loss was being computed.
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


def require_finite(what: str, value: float, step: int, last_checkpoint: int | None) -> None:
    """Require a loss or gradient norm that is finite, and a loss that has not exploded.

    Args:
        what: What the value is, such as `training loss`; the name of a loss ends so.
        value: The value; of a loss in nats per answer token.
        step: The step that was being taken, from 1.
        last_checkpoint: Step of the last good checkpoint, or None.

    Raises:
        DivergenceError: If the value is infinite or not a number, or a loss above EXPLODED; with the
            step and the last checkpoint.
    """
    is_loss = what.endswith("loss")
    if not math.isfinite(value):
        wanted, got, more = "finite", f"{value}", " or set trainer.precision=fp32"
    elif is_loss and value > EXPLODED:
        wanted, got, more = f"at most {EXPLODED:g} nats per answer token", f"{value:.1f}", ""
    else:
        return
    if step == 1 and is_loss and "training" in what:
        raise DivergenceError(
            f"the {what} must be {wanted}, got {got} at step 1, before any update: the backbone itself "
            "predicts these answers badly, so look for wrong weights or the tokenizer of another model "
            f"(backbone.path, backbone.tokenizer_path){more}."
        )
    good = f"step {last_checkpoint}" if last_checkpoint else "none was written yet"
    raise DivergenceError(
        f"the {what} must stay {wanted}, got {got} at step {step} (last good checkpoint: {good}): "
        f"lower the learning rate (method.lr or trainer.lr){more}."
    )
