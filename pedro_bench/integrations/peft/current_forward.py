"""The forward of a model that runs now, and what each adapter does in it.

The hooks around a model's forward (`forwards`) begin it and decide which adapters act; the hooks in its
layers (`gates`), deep within that call, find it here. It is kept in a context variable, so each thread has
its own. A forward may run within another model's; when it ends, that one is the current one again.

Legend: B rows, N rows of one adapter, T tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pedro_bench.protocols.context import PromptContext
from pedro_bench.protocols.method import Injection


@dataclass(frozen=True, eq=False)
class ActingAdapter:
    """An adapter that acts in a forward.

    Attributes:
        gate: What the adapter's hooks belong to.
        rows_N: Which rows of the forward are its own, int64; None: all.
    """

    gate: Injection
    rows_N: Tensor | None = None

    def share(self, prompt_mask_BT: Tensor) -> "Share":
        """Return its share of a forward, whose context knows the prompts of its own rows."""
        own = prompt_mask_BT if self.rows_N is None else prompt_mask_BT[self.rows_N]
        return Share(self.gate, self.rows_N, PromptContext(own))


@dataclass(frozen=True, eq=False)
class Share:
    """An adapter's share of a forward: its rows, and their prompts.

    Attributes:
        gate: As in `ActingAdapter`.
        rows_N: As in `ActingAdapter`.
        context: The prompt context of its rows.
    """

    gate: Injection
    rows_N: Tensor | None
    context: PromptContext

    def take(self, whole: Tensor) -> Tensor:
        """Return its rows (N, …) of a tensor (B, …)."""
        return whole if self.rows_N is None else whole[self.rows_N]

    def put(self, whole: Tensor, changed: Tensor) -> Tensor:
        """Return `whole` (B, …) with its rows replaced by `changed` (N, …), in place where it has not all."""
        if self.rows_N is None:
            return changed
        whole[self.rows_N] = changed
        return whole

    def call(self, function: Callable[..., Any], *given: Any) -> Any:
        """Return `function(*given)`, called within its context."""
        with self.context.active():
            return function(*given)


@dataclass(eq=False)
class RunningForward:
    """A forward that has begun.

    Attributes:
        owner: Whose hooks began it.
        module: The module whose call it is: a model, or a stack of layers that is called directly.
        shares: What acts in it; nothing until it is set.
        has_entered_stack: Whether the model has called its stack.
    """

    owner: Any
    module: nn.Module
    shares: tuple[Share, ...] = ()
    has_entered_stack: bool = False
    token: "Token[RunningForward | None] | None" = None


_CURRENT: ContextVar[RunningForward | None] = ContextVar("pedro_bench_peft_running", default=None)


def current() -> RunningForward | None:
    """Return the forward that runs now, or None."""
    return _CURRENT.get()


def shares_of(gate: Injection) -> list[Share]:
    """Return the shares of an adapter in the forward that runs now; none: it does not act."""
    running = current()
    return [] if running is None else [share for share in running.shares if share.gate is gate]


def begin(owner: Any, module: nn.Module) -> RunningForward:
    """Begin a forward in which, until its `shares` are set, no adapter acts."""
    running = RunningForward(owner, module)
    running.token = _CURRENT.set(running)
    return running


def end(running: RunningForward) -> None:
    """End a forward: the one around it, if any, is the current one again."""
    assert running.token is not None
    _CURRENT.reset(running.token)


def forget() -> None:
    """Forget forwards that began and were broken off."""
    _CURRENT.set(None)


@contextmanager
def resumed(running: RunningForward | None) -> Iterator[None]:
    """Run a part of a forward once more, as gradient checkpointing does in backward."""
    token = _CURRENT.set(running)
    try:
        yield
    finally:
        _CURRENT.reset(token)
