"""Fast decoding: the same search, with static steps in place of the model's forward.

    decoder = FastDecoder(adapted.backbone, "compiled")
    with decoder.replacing(adapted.modules(), max_new_tokens=16):
        decoding.generate(adapted, …, max_new_tokens=16)

Within the `with` block Transformers' own search, greedy or with beams, runs as always: the first forward of a
generation is the model's, with an ordinary cache; every later one is a step over tensors that never move
(`static_step`), plain, compiled, or recorded as a CUDA graph (`step_graphs`). The plain path stays the
reference; in float32 both give the same tokens.

Few shapes serve all batches, and each of them is compiled once (`step_shapes`). Since a decoder's buffers and
the model's forward are one for all, threads take turns (`turns`).

Legend: B rows, T tokens of the padded prompt.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from pedro_bench import checks
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.context import current_context
from pedro_bench.serving.refusals import check_steps, check_window
from pedro_bench.serving.static_step import StaticStep
from pedro_bench.serving.step_graphs import Program, compiled, recorded, weights_of
from pedro_bench.serving.step_shapes import StepShape, StepShapes
from pedro_bench.serving.turns import turn_of

DECODINGS = ("plain", "static", "compiled")
"""`plain`: Transformers' loop and cache; `static`: static steps, recorded on a GPU; `compiled`: both."""


class FastDecoder:
    """Static steps for one method on one backbone, kept from batch to batch.

    Args:
        backbone: The backbone.
        decoding: `static` or `compiled`.
        least_slots: Fewest tokens of prompt and answer together that there is room for. Who knows the
            longest prompts gives their number, and everything has one shape.
        backend: Of `torch.compile`.

    Attributes:
        shapes: What is kept; `shapes.release()` gives the buffers back between two generations.

    Raises:
        ConfigError: If `decoding` is neither, or static steps would be wrong on this backbone.
    """

    def __init__(
        self,
        backbone: LoadedBackbone,
        decoding: str,
        *,
        least_slots: int = 1,
        backend: Any = "inductor",
    ) -> None:
        checks.choice("decoding", decoding, DECODINGS[1:])
        checks.integer("least_slots", least_slots)
        check_steps(backbone, decoding)
        self._backbone = backbone
        self._decoding = decoding
        self._least_slots = least_slots
        self._backend = backend
        self.shapes = StepShapes()

    @contextmanager
    def replacing(self, modules: Iterable[nn.Module], *, max_new_tokens: int) -> Iterator[None]:
        """Let the model take static steps for the time of a `with` block; other threads wait for theirs.

        Args:
            modules: Of the model and of the method attached to it; the same method every time.
            max_new_tokens: Most tokens of an answer generated within the block.

        Raises:
            ContextError: If this thread is within such a block of the model already.
        """
        with turn_of(self._backbone.model).taken(), self._replaced(modules, max_new_tokens):
            yield

    @contextmanager
    def _replaced(self, modules: Iterable[nn.Module], max_new_tokens: int) -> Iterator[None]:
        model = self._backbone.model
        weights = weights_of(modules)
        plain, own = model.forward, model.__dict__.get("forward")
        active: StaticStep | None = None

        @wraps(plain)  # by the signature `generate` sees that one position's logits are enough
        def forward(**inputs: Any) -> Any:
            nonlocal active
            if active is not None and inputs["past_key_values"] is active.cache:
                logits_BV = active(inputs["input_ids"])
                return CausalLMOutputWithPast(
                    logits=logits_BV[:, None], past_key_values=active.cache
                )
            active = None  # the last batch's buffers may have to go before there is room for others
            output = plain(**inputs)
            mask_BT = inputs.get("attention_mask")
            active = self._begin(output.past_key_values, mask_BT, max_new_tokens, weights)
            output.past_key_values = active.cache
            return output

        model.forward = forward
        try:
            yield
        finally:
            del model.forward
            if own is not None:
                model.forward = own

    def _begin(
        self, cache: Any, mask_BT: Tensor | None, max_new_tokens: int, weights: list[Tensor]
    ) -> StaticStep:
        """Return the step that goes on from a cache that prompts filled; no mask means no padding.

        The step has copies of all that it needs, so what the prompts left is given back: the search holds
        on to cache and context until it ends.
        """
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        rows, _, length, _ = layers[0][0].shape
        if mask_BT is None:
            mask_BT = torch.ones(rows, length, dtype=torch.bool, device=self._backbone.device)
        state = current_context().state

        def make(num_rows: int, num_slots: int) -> StaticStep:
            check_window(self._backbone, self._decoding, num_slots)
            return StaticStep(self._backbone, num_rows, num_slots, layers, state)

        slots = max(length + max_new_tokens, self._least_slots)
        shape, static = self.shapes.take(rows, slots, make)
        if not _are_same(shape.weights, weights):
            try:
                static.install(lambda step: self._program(shape, static, step, weights))
            except BaseException:
                self.shapes.drop(shape)
                raise
            shape.weights = weights
        static.load(layers, state, mask_BT)
        for layer in cache.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False
        state.clear()
        return static

    def _program(
        self, shape: StepShape, static: StaticStep, step: Program, weights: list[Tensor]
    ) -> Program:
        """Return what runs in place of a step: with these weights, compiled if asked."""
        if self._decoding == "static":
            return recorded(step, self._backbone.device)
        tensors = [*static.tensors(), *weights]
        if shape.graph is None:
            shape.graph = compiled(step, tensors, self._backend)
        graph = shape.graph
        return recorded(lambda: graph(*tensors), self._backbone.device)


def decoder_for(backbone: LoadedBackbone, decoding: str) -> FastDecoder | None:
    """Return a decoder, or None for plain decoding.

    Raises:
        ConfigError: If `decoding` is not one of DECODINGS, or does not suit the backbone.
    """
    checks.choice("decoding", decoding, DECODINGS)
    return None if decoding == "plain" else FastDecoder(backbone, decoding)


def stepping(
    decoder: FastDecoder | None, modules: Iterable[nn.Module], *, max_new_tokens: int
) -> AbstractContextManager[None]:
    """Return `decoder.replacing(…)`, or without a decoder a block in which nothing is replaced."""
    if decoder is None:
        return nullcontext()
    return decoder.replacing(modules, max_new_tokens=max_new_tokens)


def _are_same(some: list[Tensor], others: list[Tensor]) -> bool:
    """Whether two lists hold the very same tensors."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
