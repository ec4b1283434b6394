"""Prompt contexts for the forwards of a model that peft has wrapped.

peft's callers know no prompt context: they call `forward` and `generate`. A hook before the model's forward
finds out which positions are the prompt, makes a context for each adapter that acts, and finds it again by
the key/value cache in the steps that follow. What would make vectors from the wrong tokens is refused.

Legend: B rows, N rows of one adapter, T tokens.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pedro_bench.errors import ContextError
from pedro_bench.integrations.peft import gates, prompts
from pedro_bench.integrations.peft.gates import GatedInjection, Share
from pedro_bench.protocols.context import PromptContext

Acting = Sequence[tuple[GatedInjection, Tensor | None]]
"""Gates of the adapters that act in a forward, and the rows (N,) of each; None: all."""


class Generation:
    """A call of `generate` that runs: what it was given, and the prompts once they have passed."""

    def __init__(self, owner: "Forwards", prompt_mask: Tensor | None) -> None:
        self.owner = owner
        self.given = prompt_mask
        self.prompt_mask_BT: Tensor | None = None


_GENERATION: ContextVar[Generation | None] = ContextVar("pedro_bench_peft_generation", default=None)


class Forwards:
    """The hooks around one model's forward and `generate`.

    Args:
        model: The Hugging Face model.
        acting: Called with B; returns what acts in a forward of so many rows.
        reads_prompt: Whether it matters where the prompt ends.
        lengthens: Whether virtual tokens join the rows.
    """

    def __init__(
        self,
        model: Any,
        acting: Callable[[int], Acting],
        *,
        reads_prompt: bool,
        lengthens: bool,
    ) -> None:
        self._model = model
        self._acting = acting
        self._reads_prompt = reads_prompt
        self._lengthens = lengthens
        self._kept: WeakKeyDictionary[Any, tuple[Share, ...]] = WeakKeyDictionary()
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Put the hooks in."""
        model = self._model
        before = model.register_forward_pre_hook(self._enter, with_kwargs=True)
        after = model.register_forward_hook(self._leave, always_call=True)
        was_own = vars(model).get("generate")
        model.generate = self._wrapped(model.generate)

        def restore() -> None:
            if was_own is None:
                del model.generate
            else:
                model.generate = was_own

        self._undo = [before.remove, after.remove, restore]

    def remove(self) -> None:
        """Take the hooks out."""
        while self._undo:
            self._undo.pop()()

    def _wrapped(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def wrapper(*args: Any, prompt_mask: Tensor | None = None, **kwargs: Any) -> Any:
            if self._reads_prompt and self._is_acting():
                prompts.refuse_decoding(self._model, kwargs)
            with self._generating(prompt_mask):
                return generate(*args, **kwargs)

        return wrapper

    @contextmanager
    def _generating(self, prompt_mask: Tensor | None) -> Iterator[None]:
        token = _GENERATION.set(Generation(self, prompt_mask))
        try:
            yield
        finally:
            _GENERATION.reset(token)

    def _is_acting(self) -> bool:
        return bool(self._acting(0))

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Begin a forward: decide what acts, on which prompts."""
        running = gates.enter()
        given = {**prompts.by_name(module, args), **kwargs}
        passed = {name: value for name, value in kwargs.items() if name != "prompt_mask"}
        tokens = given.get("input_ids")
        tokens = given["inputs_embeds"] if tokens is None else tokens
        acting = self._acting(tokens.shape[0])
        if acting:
            running.shares = self._shares(acting, tokens, given)
            checkpoint_within(self._model)
            if self._lengthens and "position_ids" not in given:
                passed |= prompts.positions(given.get("attention_mask"), tokens)
        return args, passed

    def _shares(
        self, acting: Acting, tokens: Tensor, given: Mapping[str, Any]
    ) -> tuple[Share, ...]:
        rows, columns = tokens.shape[:2]
        if not self._reads_prompt:
            every_BT = torch.ones(rows, columns, dtype=torch.bool, device=tokens.device)
            return _new_shares(acting, every_BT)
        cache = given.get("past_key_values")
        if cache is None or int(cache.get_seq_length()) == 0:
            shares = _new_shares(acting, self._prompt_mask(tokens, given))
            if cache is not None:
                self._kept[cache] = shares
        elif cache not in self._kept:
            raise ContextError(
                "a cache must be continued with the adapters that read its prompt, got one that was filled "
                "without them: pass the whole text in a first forward without a cache."
            )
        else:
            shares = self._kept[cache]
        for share in shares:
            own = rows if share.rows_N is None else len(share.rows_N)
            share.context.enter_forward(own, columns, cache)
        return shares

    def _prompt_mask(self, tokens: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Return the prompt mask (B, T) of a forward that reads its input from the beginning."""
        generation = _GENERATION.get()
        if generation is None or generation.owner is not self:
            return prompts.prompt_mask(tokens, given, is_training=self._model.training)
        if generation.prompt_mask_BT is None:
            asked = {"prompt_mask": generation.given, **given}
            generation.prompt_mask_BT = prompts.prompt_mask(tokens, asked, is_training=False)
            return generation.prompt_mask_BT
        return prompts.lengthened(generation.prompt_mask_BT, tokens)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """End a forward, and remember a cache that the model made itself."""
        running = gates.leave()
        cache = getattr(output, "past_key_values", None)
        if running is None or not self._reads_prompt or cache is None or cache in self._kept:
            return
        if running.shares and running.shares[0].context.stage == "prompt":
            self._kept[cache] = running.shares
            for share in running.shares:
                share.context.bind(cache)


def _new_shares(acting: Acting, mask_BT: Tensor) -> tuple[Share, ...]:
    return tuple(
        Share(gate, PromptContext(mask_BT if rows_N is None else mask_BT[rows_N]), rows_N)
        for gate, rows_N in acting
    )


class _Within:
    """A layer's checkpointing function that recomputes within the forward it was called in."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, part: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        running = gates.running_now()

        def run(*inputs: Any, **named: Any) -> Any:
            with gates.again(running):
                return part(*inputs, **named)

        return self._function(run, *args, **kwargs)


def checkpoint_within(model: nn.Module) -> None:
    """Let layers that gradient checkpointing recomputes see the forward they belong to.

    Whoever switches checkpointing on (a trainer) sets a function of its own in each layer.
    """
    for module in model.modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        if function is not None and not isinstance(function, _Within):
            module._gradient_checkpointing_func = _Within(function)  # type: ignore[assignment]
