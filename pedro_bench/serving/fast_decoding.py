"""Fast decoding: the same search, with static steps in place of the model's forward.

    decoder = FastDecoder(adapted.backbone, "compiled")
    with decoder.replacing(adapted.modules(), max_new_tokens=16):
        decoding.generate(adapted, …, max_new_tokens=16)

Within the `with` block Transformers' own search, greedy or with beams, runs as always: the first forward of a
generation is the model's, with an ordinary cache; every later one is a step over tensors that never move
(`static_step`), plain, compiled, or recorded as a CUDA graph. The plain path stays the reference; in float32
both give the same tokens. Since a decoder's buffers and the model's forward are one for all, one thread at a
time has them (`registry.ModelLock`).

Few shapes serve all batches, each compiled once, in bounded memory. A batch needs `rows` and `slots`,
rounded up to a power of two and to 64, 96, 128, 192, …. It takes the smallest kept shape that has room for
it, as long as that is no more than FACTOR times what it needs (a step reads the whole cache); else a shape
of its own is made, and kept ones of less than FACTOR times the new one give their buffers back. So the
caches kept beside the largest take a third of its memory at most, prompts decoded longest first fit into
the first batch's shape for a while, and a single request does not wait for the cache of a large batch. What
was compiled is kept without its buffers.

Legend: B rows, T tokens of the padded prompt.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from pedro_bench import checks
from pedro_bench.evaluation.config import DECODINGS
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.cache import CACHE, cache_of, given_cache
from pedro_bench.protocols.context import current_context
from pedro_bench.serving.registry import lock_of
from pedro_bench.serving.static_step import (
    Graph,
    Program,
    StaticStep,
    compiled,
    recorded,
    weights_of,
)
from pedro_bench.serving.validation import check_steps, check_window

FACTOR = 4
"""Most rows times slots of a shape, over those of a batch that it serves."""

_FEWEST_SLOTS = 64


@dataclass(eq=False)
class StepShape:
    """One shape (rows; slots, padding included): its step or None, its graph or None, and bound weights."""

    rows: int
    slots: int
    step: StaticStep | None = None
    graph: Graph | None = None
    weights: list[Tensor] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Rows times slots, which the memory of a cache is proportional to."""
        return self.rows * self.slots

    def release(self) -> None:
        """Give the buffers back, and with them what was recorded over them."""
        self.step, self.weights = None, []


class StepShapes:
    """The shapes of one decoder."""

    def __init__(self) -> None:
        self._shapes: list[StepShape] = []

    @property
    def num_compiled(self) -> int:
        """Shapes that were compiled so far."""
        return sum(shape.graph is not None for shape in self._shapes)

    @property
    def kept(self) -> list[tuple[int, int]]:
        """Rows and slots of all shapes that hold buffers."""
        return [(shape.rows, shape.slots) for shape in self._shapes if shape.step is not None]

    def take(
        self, rows: int, slots: int, make: Callable[[int, int], StaticStep]
    ) -> tuple[StepShape, StaticStep]:
        """Return a shape with room for rows (beams included) and slots (padding included), and its step."""
        rows, slots = rounded_rows(rows), rounded_slots(slots)
        fitting = [
            shape
            for shape in self._shapes
            if shape.rows >= rows and shape.slots >= slots and shape.size <= FACTOR * rows * slots
        ]
        # A shape without buffers is here for what it has compiled.
        chosen = min(fitting, key=lambda shape: (shape.step is None, shape.size), default=None)
        if chosen is None:
            chosen = StepShape(rows, slots)
        if chosen.step is None:
            self._release_below(FACTOR * chosen.size)
            chosen.step = make(chosen.rows, chosen.slots)
            if chosen not in self._shapes:
                self._shapes.append(chosen)
        return chosen, chosen.step

    def release(self) -> None:
        """Give all buffers back; what was compiled is kept."""
        for shape in self._shapes:
            shape.release()
        self._shapes = [shape for shape in self._shapes if shape.graph is not None]

    def drop(self, shape: StepShape) -> None:
        """Keep nothing of a shape whose step failed, so that smaller batches get one of their own."""
        shape.release()
        self._shapes.remove(shape)

    def _release_below(self, size: int) -> None:
        for shape in self._shapes:
            if shape.size < size:
                shape.release()
        self._shapes = [
            shape for shape in self._shapes if shape.step is not None or shape.graph is not None
        ]


def rounded_rows(rows: int) -> int:
    """Return the next power of two."""
    return 1 << (rows - 1).bit_length()


def rounded_slots(slots: int) -> int:
    """Return the next of 64, 96, 128, 192, 256, 384, …."""
    size = _FEWEST_SLOTS
    while size < slots:
        if size * 3 // 2 >= slots:
            return size * 3 // 2
        size *= 2
    return size


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
        with lock_of(self._backbone.model).taken(), self._replaced(modules, max_new_tokens):
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
            if active is not None and given_cache(inputs) is active.cache:
                logits_BV = active(inputs["input_ids"])
                return CausalLMOutputWithPast(logits=logits_BV[:, None], **{CACHE: active.cache})
            active = None  # the last batch's buffers may have to go before there is room for others
            output = plain(**inputs)
            mask_BT = inputs.get("attention_mask")
            active = self._begin(cache_of(output), mask_BT, max_new_tokens, weights)
            setattr(output, CACHE, active.cache)
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
            return StaticStep(self._backbone, num_rows, num_slots, layers, state)

        check_window(self._backbone, self._decoding, length + max_new_tokens)
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
        cache.layers.clear()
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
