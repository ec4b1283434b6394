"""pedro_bench: parameter-efficient fine-tuning of language models under one fixed protocol.

    python -m pedro_bench method=pedro task=boolq        trains, evaluates and records five seeds
    pedro_bench.load("results/runs/main/<record>.json")  gives a trained model to generate with

Importing the package imports nothing heavy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load` (and with it torch) only when it is asked for."""
    if name == "load":
        return import_module("pedro_bench.experiment").load
    raise AttributeError(f"module 'pedro_bench' has no attribute {name!r}")
