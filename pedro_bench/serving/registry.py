"""The adapter registry: which tenants a bank has, and the lock that gives one thread at a time the model.

Static steps replace the model's own forward while they run (`fast_decoding`), and a bank decodes one mixed
batch at a time (`bank`). Another thread waits; a thread that already has the lock would wait for itself, so
it is refused.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from pedro_bench.data.chat import NONE
from pedro_bench.data.prompt import PromptTemplate, ending_of
from pedro_bench.errors import ConfigError, ContextError, nearest
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.task_head import TaskHead
from pedro_bench.nn.tenant_blocks import TenantBlock
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe
from pedro_bench.serving.attaching import Held


@dataclass(frozen=True)
class Search:
    """What a run's beam search has beside its beams: both as in Transformers."""

    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0


@dataclass(frozen=True)
class Tenant:
    """What a bank holds for one tenant.

    Attributes:
        held: Its tensors.
        max_length: Most tokens of prompt and answer together.
        head: Its trained head, on an encoder.
        templates: The prompt templates of its task; only they write control tokens.
        search: How its answers are searched.
    """

    held: Held
    max_length: int
    head: TaskHead | None = None
    templates: tuple[PromptTemplate, ...] = ()
    search: Search = Search()

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors, its head's included."""
        own = [row for tensors in self.held.values() for row in tensors.values()]
        own += [] if self.head is None else self.head.parameters()
        return sum(row.nbytes for row in own)

    @property
    def decoding(self) -> tuple[Search, str]:
        """What the rows of one batch share: search settings, and what the template writes behind answers."""
        return self.search, ending_of(self.templates)


class Registry:
    """Names and their tenants. Each change is one step: no thread sees half of a tenant."""

    def __init__(self) -> None:
        self._tenants: dict[str, Tenant] = {}
        self._change = threading.Lock()
        self._is_closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order they came."""
        return tuple(self._tenants)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The bytes of each tenant's tensors, its head's included, in the same order."""
        return tuple(tenant.nbytes for tenant in tuple(self._tenants.values()))

    def refuse_closed(self, purpose: str) -> None:
        """Refuse what a closed bank is asked for.

        Raises:
            ContextError: If it is closed.
        """
        if self._is_closed:
            raise ContextError(
                f"a bank must be open to {purpose}, got one that was closed: open another."
            )

    def refuse_taken(self, tenant: str) -> None:
        """Refuse a name that cannot be entered now.

        Raises:
            ConfigError: If another tenant has it.
            ContextError: If the bank is closed.
        """
        self.refuse_closed("take a tenant in")
        if tenant in self._tenants:
            raise ConfigError(
                f"tenant must be a new name, got {tenant!r}, which the bank has: remove it first."
            )

    def enter(self, tenant: str, entry: Tenant) -> None:
        """Enter a tenant; raises as `refuse_taken`, also where another thread was first."""
        with self._change:
            self.refuse_taken(tenant)
            self._tenants[tenant] = entry

    def find(self, tenant: str) -> Tenant:
        """Return the tenant of a name.

        Raises:
            ConfigError: If there is none of this name.
            ContextError: If the bank is closed.
        """
        found = self._tenants.get(tenant)
        if found is None:
            raise self._unknown(tenant)
        return found

    def leave(self, tenant: str) -> None:
        """Let a tenant go; raises as `find`, also where another thread was first."""
        with self._change:
            found = self._tenants.pop(tenant, None)
        if found is None:
            raise self._unknown(tenant)

    def _unknown(self, tenant: str) -> ConfigError:
        """Return the error for a name that the bank does not have.

        Raises:
            ContextError: If the bank is closed.
        """
        self.refuse_closed("serve a tenant")
        names = self.names  # at once: tenants may come and go while they are compared
        return ConfigError(
            f"tenant must be one of the bank's {len(names)}, got {tenant!r}.{nearest(tenant, names)}"
        )

    def close(self) -> None:
        """Forget all; from now on everything is refused."""
        with self._change:
            self._is_closed = True
            self._tenants.clear()


@dataclass(frozen=True)
class TenantAdapter:
    """A trained adapter.

    Attributes:
        method: The method that was trained.
        backbone_revision: `LoadedBackbone.revision` of the backbone it was trained on.
        tensors: As `AdaptedModel.adapter_state` gives them.
        backbone_content: `LoadedBackbone.content` of that backbone, or None where it was not kept.
        templates: The prompt templates of its task; only they write control tokens.
        chat_template: `task.chat_template` of its run, which takes their place.
        search: How its run's answers are searched.
        head: What its trained head says, whose tensors are under `head`; None but on an encoder.
        max_length: `trainer.max_length` of its run; None where it is not known: the bank's holds.
    """

    method: Method
    backbone_revision: str
    tensors: Mapping[str, Tensor]
    backbone_content: str | None = None
    templates: tuple[PromptTemplate, ...] = ()
    chat_template: str = NONE
    search: Search = Search()
    head: Head | None = None
    max_length: int | None = None

    @classmethod
    def of(cls, adapted: AdaptedModel) -> "TenantAdapter":
        """Copy the adapter out of an adapted model."""
        state = adapted.adapter_state()
        return cls(adapted.method, adapted.backbone.revision, state, head=adapted.head)


@dataclass(frozen=True)
class BankMemory:
    """What the tenants of a bank take on a device; they differ in nothing but their heads' labels.

    Attributes:
        tenants: How many there are.
        bytes_per_tenant: Bytes of the largest tenant's tensors; 0 without any tenant.
        total_bytes: Bytes of all tenants' tensors, the backbone not counted.
        device: Where they lie.
    """

    tenants: int
    bytes_per_tenant: int
    total_bytes: int
    device: str


def acting_settings(method: Method, blocks: Iterable[TenantBlock]) -> dict[str, Any]:
    """Return the settings that decide what a trained adapter does: not names, not learning rates."""
    idle = {part.name for part in fields(Method)}
    idle.update(*(block.training_only for block in blocks))
    described: dict[str, Any] = describe(method)
    return {name: value for name, value in described.items() if name not in idle}


class ModelLock:
    """A lock that a thread holds once: the next thread waits, the same thread gets an error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock for the time of a `with` block.

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


_OF_MODELS: WeakKeyDictionary[nn.Module, ModelLock] = WeakKeyDictionary()
_FINDING = threading.Lock()


def lock_of(model: nn.Module) -> ModelLock:
    """Return the lock of all who replace this model's forward: one for each model."""
    with _FINDING:
        return _OF_MODELS.setdefault(model, ModelLock())
