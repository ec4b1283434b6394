"""The registry: which tenants a bank has; many threads may read and change it at once."""

import difflib
import threading

from pedro_bench.errors import ConfigError, ContextError
from pedro_bench.serving.mixing import Held


class Registry:
    """Names and what is held for them. A change is one step: nobody sees a tenant half, or loses one."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._change = threading.Lock()
        self._is_closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order they came."""
        return tuple(self._held)

    @property
    def all_held(self) -> tuple[Held, ...]:
        """What is held, in the same order."""
        return tuple(self._held.values())

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
        if tenant in self._held:
            raise ConfigError(
                f"tenant must be a new name, got {tenant!r}, which the bank has: remove it first."
            )

    def enter(self, tenant: str, held: Held) -> None:
        """Enter a tenant; raises as `refuse_taken`, also where another thread was first."""
        with self._change:
            self.refuse_taken(tenant)
            self._held[tenant] = held

    def find(self, tenant: str) -> Held:
        """Return what is held for a tenant.

        Raises:
            ConfigError: If there is none of this name.
            ContextError: If the bank is closed.
        """
        self.refuse_closed("serve a tenant")
        held = self._held.get(tenant)
        if held is None:
            names = self.names  # at once: tenants may come and go while they are compared
            close = difflib.get_close_matches(str(tenant), names, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"tenant must be one of the bank's {len(names)}, got {tenant!r}.{hint}"
            )
        return held

    def leave(self, tenant: str) -> None:
        """Let a tenant go; raises as `find`."""
        self.find(tenant)
        with self._change:
            self._held.pop(tenant, None)

    def close(self) -> None:
        """Forget all; from now on everything is refused."""
        with self._change:
            self._is_closed = True
            self._held.clear()
