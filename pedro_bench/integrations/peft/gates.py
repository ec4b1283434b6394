"""Let an attached method act on some rows of a forward, or on none.

peft keeps several adapters in a model and chooses among them at each call. Here each is attached as this
package attaches a method (`nn.injection`), with a gate in front of all it does: the forward that runs says
which adapters act (`Share`), on which rows, and within which prompt context.

Legend: B rows, N rows of one adapter, T tokens, O out-features.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.nn.injection import BackboneInjection
from pedro_bench.protocols.backbone import BackboneShape, LoadedBackbone, Site
from pedro_bench.protocols.context import PromptContext

Reading = Callable[[Tensor], None]
Change = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Share:
    """What one adapter does in a forward.

    Attributes:
        gate: The adapter's gate.
        context: The prompts of its rows.
        rows_N: Which rows of the forward are its own; None: all.
    """

    gate: "GatedInjection"
    context: PromptContext
    rows_N: Tensor | None


class Running:
    """A forward that runs.

    Attributes:
        owner: Whose hooks began it.
        module: The module whose call it is.
        shares: What acts in it.
        has_called: Whether the module has called its stack.
    """

    def __init__(self, owner: Any, module: nn.Module) -> None:
        self.owner = owner
        self.module = module
        self.shares: tuple[Share, ...] = ()
        self.has_called = False
        self.token: Token[Running | None] | None = None


_RUNNING: ContextVar[Running | None] = ContextVar("pedro_bench_peft_running", default=None)


def enter(owner: Any, module: nn.Module) -> Running:
    """Begin a forward in which, until its `shares` are set, no adapter acts."""
    running = Running(owner, module)
    running.token = _RUNNING.set(running)
    return running


def leave(running: Running) -> None:
    """End a forward: the one around it, if any, is the one that runs again."""
    assert running.token is not None
    _RUNNING.reset(running.token)


def forget() -> None:
    """Forget forwards that began and were broken off."""
    _RUNNING.set(None)


@contextmanager
def again(running: Running | None) -> Iterator[None]:
    """Run a part of a forward once more, as gradient checkpointing does in backward."""
    token = _RUNNING.set(running)
    try:
        yield
    finally:
        _RUNNING.reset(token)


def running_now() -> Running | None:
    """Return the forward that runs, or None."""
    return _RUNNING.get()


class GatedInjection:
    """`protocols.method.Injection` whose changes act only where the running forward says so.

    Args:
        backbone: The model.
        method_name: For messages.
        adapter: Modules that are there already, to be used again instead of new ones.

    Attributes:
        adapter: All trainable parameters.
    """

    def __init__(
        self, backbone: LoadedBackbone, method_name: str, adapter: nn.Module | None = None
    ) -> None:
        self._inner = BackboneInjection(backbone, method_name)
        self._device = backbone.device
        self._is_given = adapter is not None
        self.adapter = self._inner.adapter if adapter is None else adapter

    @property
    def shape(self) -> BackboneShape:
        """Sizes of the backbone."""
        return self._inner.shape

    @property
    def positions(self) -> str:
        """How the backbone knows where a token stands."""
        return self._inner.positions

    @property
    def kind(self) -> str:
        """What the backbone reads and writes."""
        return self._inner.kind

    def sites(self, roles: Sequence[str]) -> list[Site]:
        """Every place of the roles."""
        return self._inner.sites(roles)

    def add(self, name: str, module: nn.Module) -> Any:
        """Register a module, or return the one that is there.

        Under peft's `low_cpu_mem_usage` it comes without memory, and holds no numbers until some are loaded.
        """
        if self._is_given:
            return self.adapter.get_submodule(name)
        if any(parameter.is_meta for parameter in module.parameters()):
            module.to_empty(device=self._device)
            for parameter in module.parameters():
                parameter.data.fill_(torch.nan)
        return self._inner.add(name, module)

    def on_input(self, site: Site, change: Callable[[Tensor], Tensor | None]) -> None:
        """Change the input of the shares' rows."""

        def gated(given: Tensor) -> Tensor | None:
            whole, is_changed = given, False
            for share in self._shares():
                changed = _within(share, change, _rows(whole, share))
                if changed is not None:
                    whole, is_changed = _put(whole.clone(), share, changed), True
            return whole if is_changed else None

        self._inner.on_input(site, gated)

    def on_prompt(self, site: Site, see: Reading) -> None:
        """Show the prompts of each share's rows as they pass."""

        def gated(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            for share in self._shares():
                if share.context.stage == "prompt":
                    _within(share, see, _rows(arguments["hidden_states"], share))
            return {}

        self._inner.on_arguments(site, gated)

    def on_arguments(
        self, site: Site, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Change the arguments of a forward whose rows are all one adapter's."""

        def gated(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            changed: dict[str, Any] = {}
            for share in self._shares():
                changed |= _within(share, change, {**arguments, **changed})
            return changed

        self._inner.on_arguments(site, gated)

    def placed(self, tokens_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """Return embeddings of virtual tokens with learned positions."""
        return self._inner.placed(tokens_BPD, positions_BP)

    def on_positions(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the positions of a forward whose rows are all one adapter's."""

        def gated(positions_BT: Tensor) -> Tensor:
            for share in self._shares():
                positions_BT = _within(share, change, positions_BT)
            return positions_BT

        self._inner.on_positions(gated)

    def on_output(self, site: Site, change: Change) -> None:
        """Change the output of the shares' rows."""

        def gated(given: Tensor, output_BTO: Tensor) -> Tensor:
            for share in self._shares():
                changed = _within(share, change, _rows(given, share), _rows(output_BTO, share))
                whole = output_BTO.clone() if torch.is_grad_enabled() else output_BTO
                output_BTO = _put(whole, share, changed)
            return output_BTO

        self._inner.on_output(site, gated)

    def train_backbone(self, selects: Callable[[str], bool]) -> None:
        """Train weights of the backbone's own, which no type of peft here does."""
        self._inner.train_backbone(selects)

    def undo(self) -> None:
        """Remove all hooks; the adapter keeps its modules."""
        self._inner.undo()

    def _shares(self) -> list[Share]:
        running = _RUNNING.get()
        return [] if running is None else [one for one in running.shares if one.gate is self]


def _within(share: Share, change: Callable[..., Any], *given: Any) -> Any:
    with share.context.active():
        return change(*given)


def _rows(whole: Tensor, share: Share) -> Tensor:
    return whole if share.rows_N is None else whole[share.rows_N]


def _put(whole: Tensor, share: Share, changed: Tensor) -> Tensor:
    """Return `whole` with the share's rows replaced."""
    if share.rows_N is None:
        return changed
    whole[share.rows_N] = changed
    return whole
