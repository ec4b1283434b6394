"""pedro_bench: parameter-efficient fine-tuning of language models under one fixed protocol.

    python -m pedro_bench method=pedro task=boolq        trains, evaluates and records five seeds
    pedro_bench.load("results/runs/main/<record>.json")  gives a trained model to generate with
    pedro_bench.serve({"anna": "<record>.json", …})      many trained adapters on one backbone
    pedro_bench.results("results")                       records as a pandas DataFrame, one row a run
    pedro_bench.predictions(run)                         what one run answered, one row a test row
    pedro_bench.metric("squad")                          a task's scoring as an `evaluate.Metric`
    pedro_bench.attach(method, model)                    a method on a Hugging Face model of one's own

docs/api.md lists what is public.

Importing the package imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pedro_bench.analysis.frame import predictions, results
    from pedro_bench.backbones.in_memory import attach
    from pedro_bench.cli.score import metric
    from pedro_bench.runs import load, serve

__version__ = "0.2.0"
__all__ = ["__version__", "attach", "load", "metric", "predictions", "results", "serve"]


def __getattr__(name: str) -> Any:
    """Import what is offered (and with it torch or Hydra) only when it is asked for."""
    if name in ("load", "serve"):
        return getattr(import_module("pedro_bench.runs"), name)
    if name in ("results", "predictions"):
        return getattr(import_module("pedro_bench.analysis.frame"), name)
    if name == "attach":
        return import_module("pedro_bench.backbones.in_memory").attach
    if name == "metric":
        return import_module("pedro_bench.cli.score").metric
    raise AttributeError(f"module 'pedro_bench' has no attribute {name!r}")
