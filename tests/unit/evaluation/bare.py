"""The bare backbone as an adapted model, for tests of evaluation."""

from typing import Any

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.method import Method
from pedro_bench.runs.forgetting import Unchanged


def adapt(backbone: Any, kind: type[Method] = Unchanged) -> AdaptedModel:
    return AdaptedModel(backbone, kind(name="test", label="test"))
