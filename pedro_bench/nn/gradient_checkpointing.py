"""Gradient checkpointing that recomputes each layer within the prompt context of its own forward.

Backward may run long after the forward, after other forwards, and (on a GPU) in another thread, where
no context is active. So the function that recomputes a layer takes the context along.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from pedro_bench.errors import ConfigError
from pedro_bench.protocols.context import current_context


def checkpoint_in_context(function: Callable[..., Any], *args: Any) -> Any:
    """Run `function(*args)` now and again in backward, both within the context active now."""
    context = current_context()

    def run(*inputs: Any) -> Any:
        with context.active():
            return function(*inputs)

    return checkpoint(run, *args, use_reentrant=False)


def enable(model: Any) -> None:
    """Switch gradient checkpointing on for a Hugging Face model.

    Raises:
        ConfigError: If the architecture does not support it.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ConfigError(
            "trainer.gradient_checkpointing must be false for this architecture, got true: "
            f"{type(model).__name__} does not support it."
        )
    model._set_gradient_checkpointing(  # the public switch takes no function of ours
        enable=True, gradient_checkpointing_func=checkpoint_in_context
    )


def disable(model: Any) -> None:
    """Switch gradient checkpointing off again, where it is on."""
    if is_enabled(model):
        model.gradient_checkpointing_disable()


def is_enabled(model: nn.Module) -> bool:
    """Whether any layer is recomputed in backward."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
