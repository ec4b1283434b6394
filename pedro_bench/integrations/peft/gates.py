"""Let an attached method act on some rows of a forward, or on none.

peft keeps several adapters in a model and chooses among them at each call. Here each is attached as this
package attaches a method (`nn.injection`), with a gate in front of every hook: the hook asks whether its
adapter acts in the forward that runs now (`current_forward.shares_of`), and calls the method within the
context of the adapter's own rows, on these rows alone. Several adapters that act on a row act one after the
other.

Legend: B rows, T tokens, P virtual tokens, D hidden, O out-features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.integrations.peft.current_forward import shares_of
from pedro_bench.nn.injection import BackboneInjection
from pedro_bench.protocols.backbone import BackboneShape, LoadedBackbone, Site


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
            for share in shares_of(self):
                changed = share.call(change, share.take(whole))
                if changed is not None:
                    whole, is_changed = share.put(whole.clone(), changed), True
            return whole if is_changed else None

        self._inner.on_input(site, gated)

    def on_prompt(self, site: Site, see: Callable[[Tensor], None]) -> None:
        """Show the prompts of each share's rows as they pass."""

        def gated(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            for share in shares_of(self):
                if share.context.stage == "prompt":
                    share.call(see, share.take(arguments["hidden_states"]))
            return {}

        self._inner.on_arguments(site, gated)  # its own on_prompt wants one context for all rows

    def on_arguments(
        self, site: Site, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Change the arguments of a forward whose rows are all one adapter's."""

        def gated(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            changed: dict[str, Any] = {}
            for share in shares_of(self):
                changed |= share.call(change, {**arguments, **changed})
            return changed

        self._inner.on_arguments(site, gated)

    def placed(self, tokens_BPD: Tensor, positions_BP: Tensor) -> Tensor:
        """Return embeddings of virtual tokens with learned positions."""
        return self._inner.placed(tokens_BPD, positions_BP)

    def on_positions(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the positions of a forward whose rows are all one adapter's."""

        def gated(positions_BT: Tensor) -> Tensor:
            for share in shares_of(self):
                positions_BT = share.call(change, positions_BT)
            return positions_BT

        self._inner.on_positions(gated)

    def on_output(self, site: Site, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Change the output of the shares' rows."""

        def gated(given: Tensor, output_BTO: Tensor) -> Tensor:
            for share in shares_of(self):
                changed = share.call(change, share.take(given), share.take(output_BTO))
                whole = output_BTO.clone() if torch.is_grad_enabled() else output_BTO
                output_BTO = share.put(whole, changed)
            return output_BTO

        self._inner.on_output(site, gated)

    def train_backbone(self, selects: Callable[[str], bool]) -> None:
        """Train weights of the backbone's own, which no type of peft here does."""
        self._inner.train_backbone(selects)

    def undo(self) -> None:
        """Remove all hooks; the adapter keeps its modules."""
        self._inner.undo()
