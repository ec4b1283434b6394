"""Turns: what changes a model for its time is done by one thread after another.

Static steps stand in place of the model's own forward while they are taken (`fast_decoding`), and a bank
decodes with one mixed batch at a time (`bank`). Another thread waits for its turn. The thread that has
it would wait for itself, so it is refused instead.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from pedro_bench.errors import ContextError


class Turn:
    """A lock that a thread holds once: the next thread waits, the same thread gets an error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn for the time of a `with` block.

        Raises:
            ContextError: If this thread holds it already.
        """
        if self._owner == threading.get_ident():
            raise ContextError(
                "a thread must end its turn with a model before it takes another, got a call from "
                "within a generation: make the call after that one has returned."
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None


_OF_MODELS: WeakKeyDictionary[nn.Module, Turn] = WeakKeyDictionary()
_FINDING = threading.Lock()


def turn_of(model: nn.Module) -> Turn:
    """Return the turn of all who replace this model's forward: one for each model."""
    with _FINDING:
        return _OF_MODELS.setdefault(model, Turn())
