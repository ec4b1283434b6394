"""A model's `generate`, which is replaced so that the forwards within one call are known as one generation.

The prompt of a generation is the input of its first forward, or what of it `prompt_mask` says. Later forwards
are steps over a cache; without a cache they read prompt and answer anew, and only the prompt is prompt.

Legend: B rows, T tokens.
"""

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pedro_bench.integrations.peft import prompts

if TYPE_CHECKING:
    from pedro_bench.integrations.peft.forwards import ForwardHooks


class Generation:
    """A call of `generate` that runs.

    Args:
        owner: The hooks of the model that generates.
        prompt_mask: What the caller gave, or None.
    """

    def __init__(self, owner: "ForwardHooks", prompt_mask: Tensor | None) -> None:
        self.owner = owner
        self._given = prompt_mask
        self._prompt_mask_BT: Tensor | None = None

    def prompt_mask(self, tokens: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Return the prompt mask (B, T) of a forward that reads its input from the beginning.

        Args:
            tokens: Ids (B, T) or embeddings (B, T, D).
            given: Arguments of the forward.

        Raises:
            ContextError: As `prompts.prompt_mask` and `prompts.lengthened`.
        """
        if self._prompt_mask_BT is not None:
            return prompts.lengthened(self._prompt_mask_BT, tokens)
        asked = {"prompt_mask": self._given, **given}
        self._prompt_mask_BT = prompts.prompt_mask(tokens, asked, is_training=False)
        return self._prompt_mask_BT


_GENERATION: ContextVar[Generation | None] = ContextVar("pedro_bench_peft_generation", default=None)


def generation_of(owner: "ForwardHooks") -> Generation | None:
    """Return the generation that runs now, or None where none does, or another model's."""
    generation = _GENERATION.get()
    return generation if generation is not None and generation.owner is owner else None


class Generate:
    """Stands in for a model's `generate`.

    An object and no closure: a deep copy of the model copies it, and so generates with the copy.

    Args:
        owner: The model's hooks.
        generate: The model's own `generate`.
    """

    def __init__(self, owner: "ForwardHooks", generate: Callable[..., Any]) -> None:
        functools.update_wrapper(self, generate)
        self._owner = owner
        self.__wrapped__ = generate

    def __call__(self, *args: Any, prompt_mask: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate; `prompt_mask` (B, T) says what of the input is the prompt."""
        self._owner.check_decoding({**prompts.by_name(self.__wrapped__, args), **kwargs})
        token = _GENERATION.set(Generation(self._owner, prompt_mask))
        try:
            return self.__wrapped__(*args, **kwargs)
        finally:
            _GENERATION.reset(token)
