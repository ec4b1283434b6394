"""The one module that holds all adapters of a type in a model, as peft's tuner layers do.

Tensors are named as in this package, below one prefix:
`base_model.model.method_layer.pedro_adapter.<adapter>.layers.0.generator.down`; in files without `<adapter>.`

Legend: B rows, N rows of one adapter.
"""

import copy
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from pedro_bench.backbones.in_memory import adopt
from pedro_bench.backbones.loaded import LoadedModel
from pedro_bench.errors import ConfigError, ContextError, InjectionError
from pedro_bench.integrations.peft.configs import MethodConfig
from pedro_bench.integrations.peft.current_forward import ActingAdapter
from pedro_bench.integrations.peft.forwards import ForwardHooks
from pedro_bench.integrations.peft.gates import GatedInjection
from pedro_bench.integrations.peft.roles import roles_of
from pedro_bench.nn.adapted_model import require_free
from pedro_bench.protocols.method import Method

BASE = "__base__"
"""peft's name for no adapter, in `adapter_names`."""

_NAMES: ContextVar[Sequence[str] | None] = ContextVar("pedro_bench_peft_names", default=None)


@contextmanager
def adapters_of_rows(names: Sequence[str] | None) -> Iterator[None]:
    """Let each row of the forwards within have the adapter named for it; None: the active ones."""
    token = _NAMES.set(names)
    try:
        yield
    finally:
        _NAMES.reset(token)


class MethodLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # peft's class is Any to the checker
    """All adapters of one type in one model.

    Args:
        model: The Hugging Face model, whose child the layer becomes.
        config: Configuration of the first adapter.
        prefix: The type's prefix, such as `pedro_`.

    Attributes:
        methods: Adapter -> the method as attached.
        prefix: As given.

    Raises:
        BackboneError: If the model is of no family that works.
        ConfigError: If it is no model of Transformers, or one that other types of peft have wrapped.
        InjectionError: If it is no decoder, lies on several devices, or carries a method.
    """

    def __init__(self, model: Any, config: MethodConfig, prefix: str) -> None:
        super().__init__()
        self.methods: dict[str, Method] = {}
        self.prefix = prefix
        self.adapter_layer_names = (f"{prefix}adapter",)
        self.add_module(self.adapter_layer_names[0], nn.ModuleDict())
        self._asks = {
            "reads_prompt": config.reads_prompt,
            "lengthens": config.method().num_positions > 0,
        }
        require_free(model, prefix.rstrip("_"))
        self._backbone = _seen_by_role(model)
        self._gates: dict[str, GatedInjection] = {}
        if "lm_eval.models.huggingface" in sys.modules:  # it loads this model
            importlib.import_module("pedro_bench.integrations.lm_eval")
        self._model_hooks: ForwardHooks | None = None
        self.wire()

    @property
    def adapters(self) -> nn.ModuleDict:
        """Adapter -> its tensors."""
        found: nn.ModuleDict = self.get_submodule(self.adapter_layer_names[0])  # type: ignore[assignment]
        return found

    def attach(self, name: str, config: MethodConfig) -> None:
        """Attach a method as a new adapter; what `config` leaves to the default is written into it.

        Raises:
            ConfigError: If `target_modules` does not fit the model.
            InjectionError: If the model lacks what the method needs.
        """
        roles = None
        if config.default_roles:
            asked = getattr(config, "target_modules", None)
            roles = roles_of(asked, self._backbone, config.default_roles)
        method = config.method(roles)
        gate = GatedInjection(self._backbone, method.name)
        try:
            method.attach(gate)
        except BaseException:
            gate.undo()
            raise
        if roles is not None:
            config.__dict__["target_modules"] = list(roles)
        self._gates[name], self.methods[name] = gate, method
        self.adapters[name] = gate.adapter

    def wire(self) -> None:
        """Put the model's hooks in."""
        model = self._backbone.model
        self._model_hooks = ForwardHooks(model, self._backbone.decoder, self._acting, **self._asks)
        self._model_hooks.install()

    def unwire(self) -> None:
        """Take all hooks out; tensors stay."""
        if self._model_hooks is not None:
            self._model_hooks.remove()
        for gate in self._gates.values():
            gate.undo()
        self._model_hooks, self._gates = None, {}

    def delete_adapter(self, adapter_name: str) -> None:
        """Take an adapter out."""
        self.methods.pop(adapter_name, None)
        if adapter_name in self._gates:  # a deep copy may have none yet
            self._gates.pop(adapter_name).undo()
        super().delete_adapter(adapter_name)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuse: weights cannot hold what depends on the prompt.

        Raises:
            InjectionError: Always.
        """
        names = ", ".join(sorted({method.name for method in self.methods.values()}))
        raise InjectionError(
            f"an adapter must be merged into weights that can hold it, got {names}: keep it beside the model."
        )

    def unmerge(self) -> None:
        """Do nothing: nothing is ever merged."""

    def _acting(self, num_rows: int) -> list[ActingAdapter]:
        """Return the adapters that act in a forward of B rows, with the rows (N,) of each."""
        names = _NAMES.get()
        if self._disable_adapters:
            return []
        if names is None or len(set(names)) == 1:
            active: Sequence[str] = self._active_names() if names is None else names[:1]
            gates = [gate for gate in map(self._gate, active) if gate is not None]
            self._check_alone(active, len(gates) > 1)
            return [ActingAdapter(gate) for gate in gates]
        self._check_alone(names, True)
        if num_rows % len(names):
            raise ContextError(
                f"adapter_names must name one adapter for each example, got {len(names)} for {num_rows} rows."
            )
        owners = [name for name in names for _ in range(num_rows // len(names))]
        return [
            ActingAdapter(gate, _places(name, owners))
            for name in self.methods
            if name in names and (gate := self._gate(name)) is not None
        ]

    def _active_names(self) -> list[str]:
        active: Any = self.active_adapters
        return list(active)

    def _check_alone(self, names: Sequence[str], is_shared: bool) -> None:
        """Refuse virtual tokens of several adapters in one forward.

        Raises:
            ContextError: If they would stand in each other's way.
        """
        takes = [
            name for name in names if name in self.methods and self.methods[name].num_positions
        ]
        if is_shared and takes:
            raise ContextError(
                f"a forward must have one adapter for all rows with {self.methods[takes[0]].name!r}, whose "
                f"virtual tokens lengthen them, got {sorted(set(names))}."
            )

    def check_names(self, names: Sequence[str]) -> None:
        """Require that every name is an adapter or `__base__`, and that nothing is trained.

        Raises:
            ConfigError: If not.
        """
        unknown = sorted(set(names) - {*self.methods, BASE})
        if unknown:
            raise ConfigError(
                f"adapter_names must be adapters of the model or {BASE!r}, got {unknown[0]!r}; known: "
                f"{', '.join(self.methods)}."
            )
        if self.training:
            raise ConfigError(
                "adapter_names must be given in evaluation mode, got a model in training mode."
            )

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: Any = None) -> None:
        """Move an adapter to the model's device; it stays float32."""
        self.adapters[adapter_name].to(self._backbone.device if device is None else device)

    def _gate(self, name: str) -> GatedInjection | None:
        """Return an adapter's gate; None: there is no such adapter.

        A deep copy has none at first. It gets them when its first forward begins, when all is copied.
        """
        if name in self.methods and name not in self._gates:
            gate = GatedInjection(self._backbone, self.methods[name].name, self.adapters[name])
            with torch.random.fork_rng(devices=[]):  # blocks made again are thrown away
                self.methods[name].attach(gate)
            self._gates[name] = gate
        return self._gates.get(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "MethodLayer":
        """Copy all but the gates; those hooks that are copied with the model act for nobody."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        state = {**self.__dict__, "_gates": {}}
        copied.__dict__.update(copy.deepcopy(state, memo))
        return copied


def _places(name: str, owners: Sequence[str]) -> torch.Tensor:
    """Return the rows (N,) that are an adapter's, of all rows' owners."""
    return torch.tensor([row for row, own in enumerate(owners) if own == name], dtype=torch.long)


def _seen_by_role(model: Any) -> LoadedModel:
    """Return a Hugging Face model as methods see it; it is frozen, and in the mode that it was in.

    Raises:
        BackboneError: If it is of no family that works.
        ConfigError: If it is no model of Transformers.
        InjectionError: If it is no decoder, or lies on several devices.
    """
    was_training = model.training
    backbone = adopt(model)
    model.train(was_training)
    if backbone.kind != "decoder":
        raise InjectionError(
            f"the model must be a decoder with a language-modelling head, got {type(model).__name__}."
        )
    places = set((getattr(model, "hf_device_map", None) or {}).values())
    if len(places) > 1:
        raise InjectionError(
            f"the model must lie on one device, got {len(places)}: load it with device_map={{'': 0}}."
        )
    return backbone
