"""Make the types known to peft.

peft looks a type up in four tables, which its `register_peft_method` fills for every method, and refuses a
name that its enumeration `PeftType` lacks. peft has no door through which others add a name, so the members
are put into the enumeration here, as Python's `enum` itself puts them; peft's own function does the rest.
"""

from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType

from pedro_bench.errors import ConfigError
from pedro_bench.integrations.peft.configs import MethodConfig
from pedro_bench.integrations.peft.tuner import MethodTuner


def register() -> None:
    """Register a type for each configuration.

    Raises:
        ConfigError: If peft has a type of that name from elsewhere.
    """
    for config in MethodConfig.__subclasses__():
        name = config.type_name.lower()
        if config.type_name in PeftType.__members__:
            raise ConfigError(
                f"type {config.type_name!r} must be registered once, got one that this peft has already: "
                "use a version of peft that docs/integrations.md names."
            )
        _add_member(config.type_name)
        prefix = f"{name}_"
        tuner = type(
            f"{config.__name__.removesuffix('Config')}Tuner", (MethodTuner,), {"prefix": prefix}
        )
        register_peft_method(name=name, config_cls=config, model_cls=tuner, prefix=prefix)
        PEFT_TYPE_TO_CONFIG_MAPPING[config.written_type()] = config


def _add_member(name: str) -> None:
    """Add a member to `PeftType`, whose value is its name, as peft's own are."""
    kind: Any = PeftType
    member = str.__new__(kind, name)
    member._name_ = member._value_ = name
    member.__objclass__ = kind
    member._sort_order_ = len(kind._member_names_)
    type.__setattr__(kind, name, member)
    kind._member_names_.append(name)
    kind._member_map_[name] = member
    kind._value2member_map_[name] = member
