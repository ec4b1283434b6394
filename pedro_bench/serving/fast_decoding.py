"""Fast decoding: the same search, with static steps in place of the model's forward.

    decoder = FastDecoder(adapted.backbone, "compiled")
    with decoder.replacing(adapted.modules(), max_new_tokens=16):
        decoding.generate(adapted, …, max_new_tokens=16)

Within the `with` block the model's `forward` is replaced, and Transformers' own search, greedy or with beams,
calls the replacement as it calls the model:

1. The first forward of a generation, which reads the prompts, is the model's, with an ordinary cache.
2. A static step takes over what that left (`static_step.Prefill`). It runs over buffers of a shape that was
   kept from earlier batches or is made now (`step_shapes`), as it is, compiled, or recorded as a CUDA graph
   (`step_programs`). The search gets the step's cache in place of the ordinary one.
3. Every later forward is known by that cache, and is one call of the step.

The plain path stays the reference; in float32 both give the same tokens. Since a decoder's buffers and the
model's forward are one for all, one thread at a time has them (`registry.ModelLock`).

Legend: B rows, T tokens of the padded prompt.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from pedro_bench import checks
from pedro_bench.evaluation.config import DECODINGS
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.cache import CACHE, cache_of, given_cache
from pedro_bench.protocols.context import current_context
from pedro_bench.serving.registry import lock_of
from pedro_bench.serving.static_step import Prefill, StaticStep
from pedro_bench.serving.step_programs import Program, compiled, recorded, weights_of
from pedro_bench.serving.step_shapes import StepShape, StepShapes
from pedro_bench.serving.validation import check_steps, check_window


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
        with lock_of(self._backbone.model).taken():
            model = self._backbone.model
            own = model.__dict__.get("forward")  # somebody else's, put into this one model
            model.forward = self._stepping(model.forward, weights_of(modules), max_new_tokens)
            try:
                yield
            finally:
                del model.forward
                if own is not None:
                    model.forward = own

    def _stepping(
        self, plain: Callable[..., Any], weights: list[Tensor], max_new_tokens: int
    ) -> Callable[..., Any]:
        """Return a forward that is the plain one where prompts are read, and a static step behind them."""
        active: StaticStep | None = None

        @wraps(plain)  # by the signature `generate` sees that one position's logits are enough
        def forward(**inputs: Any) -> Any:
            nonlocal active
            if active is not None and given_cache(inputs) is active.cache:
                logits_BV = active(inputs["input_ids"])
                return CausalLMOutputWithPast(logits=logits_BV[:, None], **{CACHE: active.cache})
            active = None  # the last batch's buffers may have to go before there is room for others
            output = plain(**inputs)
            prefill = Prefill.of(
                cache_of(output), current_context().state, inputs.get("attention_mask")
            )
            active = self._begin(prefill, max_new_tokens, weights)
            setattr(output, CACHE, active.cache)
            return output

        return forward

    def _begin(self, prefill: Prefill, max_new_tokens: int, weights: list[Tensor]) -> StaticStep:
        """Return the step that goes on from what prompts left, which is copied and given back."""
        num_tokens = prefill.num_tokens + max_new_tokens
        check_window(self._backbone, self._decoding, num_tokens)

        def make(rows: int, slots: int) -> StaticStep:
            return StaticStep(self._backbone, rows, slots, like=prefill)

        slots = max(num_tokens, self._least_slots)
        shape, step = self.shapes.take(prefill.num_rows, slots, make)
        self._bind(shape, step, weights)
        step.load(prefill)
        prefill.free()
        return step

    def _bind(self, shape: StepShape, step: StaticStep, weights: list[Tensor]) -> None:
        """Let a shape's step run with these weights; a shape that cannot is dropped."""
        if _are_same(shape.weights, weights):
            return
        try:
            step.install(lambda plain: self._program(shape, step, plain, weights))
        except BaseException:
            self.shapes.drop(shape)
            raise
        shape.weights = weights

    def _program(
        self, shape: StepShape, step: StaticStep, plain: Program, weights: list[Tensor]
    ) -> Program:
        """Return what runs in place of the plain step: with these weights, compiled if asked."""
        if self._decoding == "static":
            return recorded(plain, self._backbone.device)
        tensors = [*step.tensors(), *weights]
        if shape.graph is None:
            shape.graph = compiled(plain, tensors, self._backend)
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
