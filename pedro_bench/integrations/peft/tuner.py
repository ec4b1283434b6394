"""The tuner that peft puts around a model for every type here; what it holds is in `layer.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.nn import Parameter

from pedro_bench.errors import ConfigError, InjectionError, near_match
from pedro_bench.integrations.peft.layer import MethodLayer, adapters_of_rows

LAYER = "method_layer"
"""Name under which the layer stands in the model."""


class MethodTuner(BaseTuner):  # type: ignore[misc]  # peft's class is Any to the checker
    """A model with adapters of one type; made by peft's `get_peft_model`."""

    prefix: ClassVar[str]
    tuner_layer_cls = MethodLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def __init__(self, model: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Wrap a model; see peft's `BaseTuner`.

        Raises:
            ConfigError: If the model holds adapters of another type, or is peft's own already.
            InjectionError: If `pedro_bench.attach` has put a method on it.
        """
        held = model._modules.get(LAYER)
        wanted = self.prefix.rstrip("_").upper()
        if isinstance(held, MethodLayer) and held.prefix != self.prefix:
            raise ConfigError(
                f"a model must hold adapters of one type, got {wanted} where it holds "
                f"{held.prefix.rstrip('_').upper()}: call unload() on the model that peft returned first."
            )
        super().__init__(model, *args, **kwargs)

    @property
    def layer(self) -> MethodLayer:
        """The module that holds all adapters."""
        found: MethodLayer = getattr(self.model, LAYER)
        return found

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Attach the method of `peft_config[adapter_name]` as a new adapter.

        Args:
            model: The model.
            adapter_name: The adapter's name.
            autocast_adapter_dtype: Not used: adapters are float32 whatever the model is.
            low_cpu_mem_usage: Not used: adapters are small; peft makes them without memory all the same.
            state_dict: Not used: places follow from the configuration.

        Raises:
            ConfigError: If a setting does not fit the model.
            InjectionError: If the model lacks what the method needs.
        """
        config = self.peft_config[adapter_name]
        is_first = LAYER not in model._modules
        if is_first:
            model.add_module(LAYER, MethodLayer(model, config, self.prefix))
        layer = self.layer
        before = [(parameter, parameter.requires_grad) for parameter in layer.parameters()]
        try:
            layer.attach(adapter_name, config)
        except BaseException:
            if is_first:
                layer.unwire()
                delattr(model, LAYER)
            raise
        layer.train(model.training)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)
        self._mark_only_adapters_as_trainable(model)
        for parameter, is_trained in before:
            parameter.requires_grad_(is_trained)

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: methods attach to roles, and no module is replaced."""
        raise InjectionError(
            "a method must be attached by inject_adapter, got a module to replace."
        )

    def _unload_and_optionally_merge(
        self, merge: bool = True, *args: Any, **kwargs: Any
    ) -> nn.Module:
        """Take everything out, bit for bit; merging is refused."""
        if merge:
            self.layer.merge()
        self.layer.unwire()
        delattr(self.model, LAYER)
        del self.model.peft_config
        model: nn.Module = self.model
        return model

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Give each row of the calls within its own adapter, where `adapter_names` is given."""
        names = kwargs.get("adapter_names")
        if names is not None:
            self.layer.check_names(names)
        with adapters_of_rows(names):
            yield

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Return a tensor's name in files."""
        return key.replace(f".{cls.prefix}adapter.{adapter_name}.", f".{cls.prefix}adapter.", 1)


def architecture_parameters(model: Any, adapter_name: str = "default") -> list[Parameter]:
    """Return the parameters that bilevel training trains on validation batches (Theta in PEDRO's eq. 8).

    Args:
        model: What `get_peft_model` returned.
        adapter_name: The adapter.

    Raises:
        ConfigError: If the method has none, or the model has no such adapter of a type of this package.
    """
    tuner = getattr(model, "base_model", None)
    if not isinstance(tuner, MethodTuner):
        raise ConfigError(
            "model must be what get_peft_model returned for a configuration of this package, got "
            f"{type(model).__name__}."
        )
    layer = tuner.layer
    if adapter_name not in layer.methods:
        raise ConfigError(
            f"adapter_name must be an adapter of the model, got {adapter_name!r}."
            + near_match(adapter_name, layer.methods)
        )
    method = layer.methods[adapter_name]
    if not method.is_bilevel:
        raise ConfigError(
            f"bilevel training must have a method with architecture parameters, got {method.name!r}."
        )
    groups = replace(method, bilevel="validation").parameter_groups(layer.adapters[adapter_name])
    return list(groups["architecture"])
