"""What is patched in a model that peft has wrapped, and the hooks around its forward.

peft's callers know no prompt context: they call `forward` and `generate`. So a model gets

    where                          what                                                     module
    model, its stack of layers     hooks before and behind `forward`: which adapters act    `forwards`
                                   in the call, on which rows, and what the prompts are
    model.generate                 a stand-in: forwards within it are one generation        `generation`
    modules that methods change    hooks that act where the forward says so                 `gates`
    layers under gradient          a checkpointing function that resumes the forward in     `checkpointing`
    checkpointing                  backward

and all of them meet in the forward that runs now (`current_forward`). The stack has hooks too, as some
callers call it directly; where its model calls it, they do nothing.

A forward that reads prompts makes a prompt context for each adapter that acts, which the steps behind it find
again by their key/value cache. What would make vectors from the wrong tokens is refused.

Legend: B rows, T tokens.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pedro_bench.errors import ContextError
from pedro_bench.integrations.peft import current_forward, prompts
from pedro_bench.integrations.peft.checkpointing import wrap_checkpointing
from pedro_bench.integrations.peft.current_forward import ActingAdapter, Share
from pedro_bench.integrations.peft.generation import Generate, generation_of
from pedro_bench.protocols.cache import cache_of, given_cache


class ForwardHooks:
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
        acting: Callable[[int], Sequence[ActingAdapter]],
        *,
        reads_prompt: bool,
        lengthens: bool,
    ) -> None:
        self._model = model
        self._stack = stack
        self._acting = acting
        self._reads_prompt = reads_prompt
        self._lengthens = lengthens
        # Cache -> shares of the forward that filled it with its prompts.
        self._shares_by_cache: WeakKeyDictionary[Any, tuple[Share, ...]] = WeakKeyDictionary()
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

    def check_decoding(self, arguments: Mapping[str, Any]) -> None:
        """Refuse ways of `generate`, by its arguments, that would make vectors from the wrong tokens.

        Raises:
            ContextError: If one is asked for.
        """
        if self._reads_prompt and self._acting(0):
            prompts.refuse_decoding(self._model, arguments)

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Begin a forward: decide what acts, on which prompts; return the arguments it goes on with."""
        if self._is_called_by_model(module):
            return None
        running = current_forward.begin(self, module)
        given = {**prompts.by_name(module.forward, args), **kwargs}
        passed = {name: value for name, value in kwargs.items() if name != "prompt_mask"}
        tokens = given.get("input_ids")
        tokens = given.get("inputs_embeds") if tokens is None else tokens
        if tokens is None:  # the model itself refuses that
            return args, passed
        acting = self._acting(tokens.shape[0])
        if acting:
            running.shares = self._shares(acting, tokens, given)
            wrap_checkpointing(self._model)
            if self._lengthens and given.get("position_ids") is None:
                passed |= prompts.positions(given.get("attention_mask"), tokens)
        return args, passed

    def _is_called_by_model(self, module: nn.Module) -> bool:
        """Whether it is the stack, called by its model, whose forward has begun."""
        around = current_forward.current()
        if around is None or around.owner is not self:
            return False
        if module is self._stack and around.module is self._model and not around.has_entered_stack:
            around.has_entered_stack = True
            return True
        # Ctrl-C ended the call around this one, and PyTorch then calls no hook behind it.
        current_forward.forget()
        return False

    def _shares(
        self, acting: Sequence[ActingAdapter], tokens: Tensor, given: Mapping[str, Any]
    ) -> tuple[Share, ...]:
        """Return what each adapter does in a forward, in contexts that have checked it."""
        num_rows, num_tokens = tokens.shape[:2]
        if not self._reads_prompt:
            every_BT = torch.ones(num_rows, num_tokens, dtype=torch.bool, device=tokens.device)
            return tuple(adapter.share(every_BT) for adapter in acting)
        cache = given_cache(given)
        if cache is not None and int(cache.get_seq_length()) > 0:
            shares = self._shares_behind(cache)
        else:
            mask_BT = self._prompt_mask(tokens, given)
            shares = tuple(adapter.share(mask_BT) for adapter in acting)
            if cache is not None:
                self._shares_by_cache[cache] = shares
        for share in shares:
            num_own = num_rows if share.rows_N is None else len(share.rows_N)
            share.context.enter_forward(num_own, num_tokens, cache)
        return shares

    def _shares_behind(self, cache: Any) -> tuple[Share, ...]:
        """Return the shares of the forward whose prompts a cache holds.

        Raises:
            ContextError: If no adapter has read them.
        """
        if cache not in self._shares_by_cache:
            raise ContextError(
                "a cache must be continued with the adapters that read its prompt, got one that was filled "
                "without them: pass the whole text in a first forward without a cache."
            )
        return self._shares_by_cache[cache]

    def _prompt_mask(self, tokens: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Return the prompt mask (B, T) of a forward that reads its input from the beginning."""
        generation = generation_of(self)
        if generation is not None:
            return generation.prompt_mask(tokens, given)
        return prompts.prompt_mask_of_call(tokens, given, is_training=self._model.training)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """End a forward, and remember a cache that the model made itself."""
        running = current_forward.current()
        if running is None or running.owner is not self or running.module is not module:
            return
        current_forward.end(running)
        cache = cache_of(output)
        if not self._reads_prompt or cache is None or cache in self._shares_by_cache:
            return
        if running.shares and running.shares[0].context.stage == "prompt":
            self._shares_by_cache[cache] = running.shares
            for share in running.shares:
                share.context.bind(cache)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ForwardHooks":
        """Copy all but the caches, whose shares belong to the gates of the model that was copied."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        state = {**self.__dict__, "_shares_by_cache": WeakKeyDictionary()}
        copied.__dict__.update(copy.deepcopy(state, memo))
        return copied
