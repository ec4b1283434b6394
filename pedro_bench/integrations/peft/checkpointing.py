"""Gradient checkpointing: layers that backward runs again see the forward they belong to.

Backward may come after other forwards, and on a GPU in another thread, where no forward is the current one.
So each layer's checkpointing function is wrapped: it remembers the forward that it was called in, and resumes
it where the layer is run again.
"""

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from pedro_bench.integrations.peft import current_forward

_FUNCTION = "_gradient_checkpointing_func"
"""Attribute of Transformers' layers that are checkpointed."""


class _Resuming:
    """A layer's checkpointing function that runs the layer again within the forward it was called in.

    Reentrant checkpointing gives wrong gradients where a layer uses what was made outside of it, such as
    vectors; it is replaced by the other kind, whose numbers are the same.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if isinstance(function, functools.partial) and function.keywords.get("use_reentrant"):
            function = functools.partial(function, use_reentrant=False)
        self._function = function

    def __call__(self, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        running = current_forward.current()

        def run(*inputs: Any, **named: Any) -> Any:
            with current_forward.resumed(running):
                return layer(*inputs, **named)

        return self._function(run, *args, **kwargs)


def wrap_checkpointing(model: nn.Module) -> None:
    """Wrap the checkpointing function of every layer that has one, once.

    Called at every forward: whoever switches checkpointing on (a trainer) sets a function of its own in each
    layer.
    """
    for module in model.modules():
        function = getattr(module, _FUNCTION, None)
        if function is not None and not isinstance(function, _Resuming):
            setattr(module, _FUNCTION, _Resuming(function))
