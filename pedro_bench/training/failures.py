"""Failures of a training: losses that are no numbers or have exploded, and memory that runs out."""

import math
from collections.abc import Callable

from pedro_bench.errors import DivergenceError, TrainingError
from pedro_bench.protocols.head import Head
from pedro_bench.training.config import TrainerConfig

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
