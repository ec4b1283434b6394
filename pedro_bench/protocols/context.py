"""The prompt context: what every forward of an adapted model knows about its prompts.

A method such as PEDRO must know which positions are prompt, and what it made from the prompt belongs
to that one generation, not to the module. So a context is created for each forward in training, and for
each generation in decoding; modules read it while it is active and keep their per-generation tensors
in its `state`. Two generations may interleave, and two forwards may precede one backward, since each
has its own context; gradient checkpointing re-enters the context it captured
(`nn/adapted_model.py`).

Legend: B examples, T tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from pedro_bench.errors import ContextError

if TYPE_CHECKING:
    from torch import Tensor

_ACTIVE: ContextVar["PromptContext | None"] = ContextVar("pedro_bench_context", default=None)


class PromptContext:
    """Prompt positions of one forward or one generation, and the state that methods keep with it.

    Attributes:
        prompt_mask_BT: True where a position holds a prompt token; padding and answer are False.
        last_prompt_B: Index of each example's last prompt token.
        stage: `new` before the first forward, `prompt` while prompts (and, in training, their
            answers) pass through the model, `step` while one generated token does.
        num_cached: Tokens in the cache before the forward that runs now; 0 while prompts pass.
        state: Name -> tensor, or tuple of tensors, whose first axis is B; owned by methods.
    """

    def __init__(self, prompt_mask_BT: "Tensor") -> None:
        if prompt_mask_BT.ndim != 2 or prompt_mask_BT.dtype.is_floating_point:
            raise ContextError(
                "the prompt mask must be a boolean matrix (examples, tokens), got shape "
                f"{tuple(prompt_mask_BT.shape)} of {prompt_mask_BT.dtype}."
            )
        mask_BT = prompt_mask_BT.bool()
        if mask_BT.shape[1] == 0 or not bool(mask_BT.any(dim=1).all()):
            raise ContextError(
                "every example must have at least one prompt token, got one with none."
            )
        self.prompt_mask_BT = mask_BT
        self.last_prompt_B = mask_BT.shape[1] - 1 - mask_BT.long().flip(1).argmax(dim=1)
        self.stage = "new"
        self.num_cached = 0
        self.state: dict[str, Any] = {}
        self._made: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._cache: ReferenceType[Any] | None = None
        self._seen = 0

    @property
    def num_examples(self) -> int:
        """B, after any expansion to beams."""
        return int(self.prompt_mask_BT.shape[0])

    @property
    def reads_prompt_end(self) -> bool:
        """Whether the forward that runs now reads the last prompt token, for the first time or again."""
        return self.stage == "prompt" or self.num_cached < self.prompt_mask_BT.shape[1]

    @contextmanager
    def active(self) -> Iterator["PromptContext"]:
        """Make this the context that modules read, for the time of a `with` block."""
        token = _ACTIVE.set(self)
        try:
            yield self
        finally:
            _ACTIVE.reset(token)

    def expand(self, num_beams: int) -> None:
        """Repeat every example `num_beams` times in place; beams of one prompt share its state."""
        self.prompt_mask_BT = self.prompt_mask_BT.repeat_interleave(num_beams, dim=0)
        self.last_prompt_B = self.last_prompt_B.repeat_interleave(num_beams, dim=0)
        self.state = {
            name: _map_tensors(value, lambda tensor: _repeated(tensor, num_beams))
            for name, value in self.state.items()
        }

    def select(self, rows: "Tensor") -> None:
        """Go on with some of the examples, in the order of their indices `rows` (B', int64)."""
        self.prompt_mask_BT = self.prompt_mask_BT[rows]
        self.last_prompt_B = self.last_prompt_B[rows]
        self.state = {
            name: _map_tensors(value, lambda tensor: _selected(tensor, rows))
            for name, value in self.state.items()
        }

    def enter_forward(self, num_examples: int, num_tokens: int, cache: Any) -> None:
        """Check that a forward fits this context, and set `stage` for it.

        Args:
            num_examples: Rows of the forward's input.
            num_tokens: Columns of the forward's input.
            cache: The key/value cache passed to the forward, or None.

        Raises:
            ContextError: If the forward would mix prompts, split one, or continue another's cache.
        """
        if num_examples != self.num_examples:
            raise ContextError(
                f"a forward must have the context's {self.num_examples} examples, got {num_examples}: "
                "make a new context for another batch."
            )
        cached = int(cache.get_seq_length()) if cache is not None else 0
        if cached == 0:
            self._enter_prompt(num_tokens, cache)
        else:
            self._enter_step(num_tokens, cached, cache)
        self.num_cached = cached
        self._made = {}

    def _enter_prompt(self, num_tokens: int, cache: Any) -> None:
        if self.stage != "new":
            raise ContextError(
                "a context must serve one prompt, got a second forward without its cache: make a new "
                "context for a new prompt, and pass the cache to continue this one."
            )
        if num_tokens != self.prompt_mask_BT.shape[1]:
            raise ContextError(
                f"the prompt must pass through the model whole ({self.prompt_mask_BT.shape[1]} tokens), "
                f"got {num_tokens}: chunked prefill would make vectors from an unfinished prompt."
            )
        self.stage = "prompt"
        self._seen = num_tokens
        self.bind(cache)

    def _enter_step(self, num_tokens: int, cached: int, cache: Any) -> None:
        if self.stage == "new":
            raise ContextError(
                "a context must see its prompt before a cache is continued, got a cache of "
                f"{cached} tokens at its first forward: chat continuation with an old cache is refused."
            )
        if self._cache is None or self._cache() is not cache:
            raise ContextError(
                "a cache must be continued in the context it was made in, got another generation's cache."
            )
        if num_tokens != 1:
            raise ContextError(
                f"a cache must be continued one token at a time, got {num_tokens}: assisted decoding and "
                "appending a new prompt to an old cache are refused."
            )
        self.stage = "step"

    def enter_answer(self, num_examples: int, cache: Any) -> None:
        """Check that a forward of an encoder-decoder's second stack fits this context, and set `stage`.

        Args:
            num_examples: Rows of the forward's input.
            cache: The key/value cache passed to it, or None.

        Raises:
            ContextError: If it would answer other prompts than those that were read.
        """
        cached = int(cache.get_seq_length()) if cache is not None else 0
        if self.stage == "new" or num_examples != self.num_examples:
            read = 0 if self.stage == "new" else self.num_examples
            raise ContextError(
                f"an answer must follow the prompts that its context has read, got {num_examples} rows "
                f"behind {read} prompts."
            )
        if cached and (self._cache is None or self._cache() is not cache):
            raise ContextError(
                "a cache must be continued in the context it was made in, got another generation's cache."
            )
        self.stage, self.num_cached, self._made = "step", cached, {}

    def once(self, name: str, given: Any, make: Callable[[], Any]) -> Any:
        """Return `make()`, which runs once in a forward for each name and object `given`.

        For what all layers share, such as a mask; a layer that is recomputed finds it again.
        """
        key = (name, id(given))
        if key not in self._made:
            self._made[key] = (given, make())  # holding `given` keeps its id from being used anew
        return self._made[key][1]

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return `state[name]`; where it is not there it is `make()`, which so runs once in a generation."""
        if name not in self.state:
            self.state[name] = make()
        return self.state[name]

    def bind(self, cache: Any) -> None:
        """Tie the context to the cache that its prompt filled."""
        self._cache = ref(cache) if cache is not None else None


def current_context() -> PromptContext:
    """Return the active context.

    Raises:
        ContextError: If none is active: the backbone was called without going through the adapted model.
    """
    context = _ACTIVE.get()
    if context is None:
        raise ContextError(
            "an adapted backbone must be called within a prompt context, got a bare call: use "
            "AdaptedModel.forward, or `with adapted.context(prompt_mask):` around your own calls."
        )
    return context


def _repeated(tensor: Any, count: int) -> Any:
    """Repeat every row `count` times; rows that are one and the same memory stay so."""
    if tensor.stride(0) == 0:
        return tensor[:1].expand(tensor.shape[0] * count, *tensor.shape[1:])
    return tensor.repeat_interleave(count, dim=0)


def _selected(tensor: Any, rows: Any) -> Any:
    """Return some rows; rows that are one and the same memory stay so."""
    if tensor.stride(0) == 0:
        return tensor[:1].expand(len(rows), *tensor.shape[1:])
    return tensor[rows]


def _map_tensors(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to a tensor or to every tensor of a tuple, list or dict."""
    if isinstance(value, tuple | list):
        return type(value)(_map_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {name: _map_tensors(item, change) for name, item in value.items()}
    return change(value)
