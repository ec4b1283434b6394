"""What Transformers calls the cache of keys and values.

Transformers 5.24 renamed the argument `past_key_values` of every model, and the field of its output, to
`cache`, and takes the old name with a warning that other code may not expect. This is the one place that
knows both; a model whose own layers have a third name (GPT-NeoX, Falcon) is asked by `argument_of`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from transformers.modeling_outputs import BaseModelOutputWithPast

_OLD, _NEW = "past_key_values", "cache"

CACHE: Final = _NEW if _NEW in {field.name for field in fields(BaseModelOutputWithPast)} else _OLD
"""The name of the argument of a model's forward and of `generate`, and of the field of its output."""


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """Return the cache among a model's keyword arguments, under either name, or None."""
    return arguments.get(_NEW, arguments.get(_OLD))


def cache_of(output: Any) -> Any:
    """Return the cache in a model's output, or None where it has none."""
    return getattr(output, CACHE, None)


def argument_of(forward: Callable[..., Any]) -> str:
    """Return the name under which an attention module's forward takes the cache."""
    names = inspect.signature(forward).parameters
    return next((name for name in (_NEW, _OLD) if name in names), "layer_past")
