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
from torch.utils.hooks import RemovableHandle

from pedro_bench.errors import ContextError
from pedro_bench.integrations.peft import gates, prompts
from pedro_bench.integrations.peft.gates import GatedInjection, Share
from pedro_bench.protocols.cache import cache_of, given_cache
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

_GIVEN: ContextVar[Tensor | None] = ContextVar("pedro_bench_peft_given", default=None)


@contextmanager
def given_prompts(mask_BT: Tensor) -> Iterator[None]:
    """Let a prompt mask (B, T) hold for the forward within, whose caller passes none."""
    token = _GIVEN.set(mask_BT)
    try:
        yield
    finally:
        _GIVEN.reset(token)


class Generate:
    """Stands in for a model's `generate`: the same call, known as one by the forwards within it."""

    def __init__(self, forwards: "Forwards", generate: Callable[..., Any]) -> None:
        functools.update_wrapper(self, generate)
        self._forwards = forwards
        self.__wrapped__ = generate

    def __call__(self, *args: Any, prompt_mask: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate; `prompt_mask` (B, T) says what of the input is the prompt."""
        self._forwards.check_decoding(kwargs)
        token = _GENERATION.set(Generation(self._forwards, prompt_mask))
        try:
            return self.__wrapped__(*args, **kwargs)
        finally:
            _GENERATION.reset(token)


class Forwards:
    """The hooks around one model's forward and `generate`; a deep copy of the model has its own.

    Args:
        model: The Hugging Face model.
        stack: Its stack of layers, which some callers call directly.
        acting: Called with B; returns what acts in a forward of so many rows.
        reads_prompt: Whether it matters where the prompt ends.
        lengthens: Whether virtual tokens join the rows.
    """

    def __init__(
        self,
        model: Any,
        stack: nn.Module,
        acting: Callable[[int], Acting],
        *,
        reads_prompt: bool,
        lengthens: bool,
    ) -> None:
        self._model = model
        self._stack = stack
        self._acting = acting
        self._reads_prompt = reads_prompt
        self._lengthens = lengthens
        self._kept: WeakKeyDictionary[Any, tuple[Share, ...]] = WeakKeyDictionary()
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        """Put the hooks in."""
        for module in dict.fromkeys((self._model, self._stack)):
            self._handles += [
                module.register_forward_pre_hook(self._enter, with_kwargs=True),
                module.register_forward_hook(self._leave, always_call=True),
            ]
        self._model.generate = Generate(self, self._model.generate)

    def remove(self) -> None:
        """Take the hooks out."""
        while self._handles:
            self._handles.pop().remove()
        generate = self._model.generate.__wrapped__
        del self._model.generate
        if self._model.generate != generate:  # somebody else's
            self._model.generate = generate

    def check_decoding(self, kwargs: Mapping[str, Any]) -> None:
        """Refuse ways of `generate` that would make vectors from the wrong tokens.

        Raises:
            ContextError: If one is asked for.
        """
        if self._reads_prompt and self._acting(0):
            prompts.refuse_decoding(self._model, kwargs)

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Begin a forward: decide what acts, on which prompts."""
        around = gates.running_now()
        if around is not None and around.owner is self:
            is_inner = module is self._stack and around.module is self._model
            if is_inner and not around.has_called:
                around.has_called = True
                return None  # the stack, called by its model
            gates.forget()  # Ctrl-C ended that call, and PyTorch then calls no hook after it
        running = gates.enter(self, module)
        given = {**prompts.by_name(module, args), **kwargs}
        passed = {name: value for name, value in kwargs.items() if name != "prompt_mask"}
        tokens = given.get("input_ids")
        tokens = given["inputs_embeds"] if tokens is None else tokens
        acting = self._acting(tokens.shape[0])
        if acting:
            running.shares = self._shares(acting, tokens, given)
            checkpoint_within(self._model)
            if self._lengthens and given.get("position_ids") is None:
                passed |= prompts.positions(given.get("attention_mask"), tokens)
        return args, passed

    def _shares(
        self, acting: Acting, tokens: Tensor, given: Mapping[str, Any]
    ) -> tuple[Share, ...]:
        rows, columns = tokens.shape[:2]
        if not self._reads_prompt:
            every_BT = torch.ones(rows, columns, dtype=torch.bool, device=tokens.device)
            return _new_shares(acting, every_BT)
        cache = given_cache(given)
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
            asked = {"prompt_mask": _GIVEN.get(), **given}
            if asked["prompt_mask"] is None and asked.get("labels") is None:
                prompts.refuse_unknown_boundary()
            return prompts.prompt_mask(tokens, asked, is_training=self._model.training)
        if generation.prompt_mask_BT is None:
            asked = {"prompt_mask": generation.given, **given}
            generation.prompt_mask_BT = prompts.prompt_mask(tokens, asked, is_training=False)
            return generation.prompt_mask_BT
        return prompts.lengthened(generation.prompt_mask_BT, tokens)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """End a forward, and remember a cache that the model made itself."""
        running = gates.running_now()
        if running is None or running.owner is not self or running.module is not module:
            return
        gates.leave(running)
        cache = cache_of(output)
        if not self._reads_prompt or cache is None or cache in self._kept:
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
    """A layer's checkpointing function that recomputes within the forward it was called in.

    Reentrant checkpointing gives wrong gradients where a layer uses what was made outside of it, such as
    vectors; it is replaced by the other kind, whose numbers are the same.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if isinstance(function, functools.partial) and function.keywords.get("use_reentrant"):
            function = functools.partial(function, use_reentrant=False)
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
