"""Learned activations: the coefficients of the rational functions in a finished run's adapter."""

from pathlib import Path

from torch import Tensor

from pedro_bench.analysis.activations import Activations, Coefficients
from pedro_bench.errors import RecordError
from pedro_bench.nn.rational import GELU_DENOMINATOR, GELU_NUMERATOR
from pedro_bench.runs.saved import read_saved

_NUMERATOR, _DENOMINATOR = ".activation.numerator", ".activation.denominator"


def learned_activations(record: Path) -> Activations:
    """Read the coefficients from the adapter of the run that a record describes.

    Raises:
        RecordError: If the run is not finished, its adapter is gone or damaged, or it learned no
            rational function.
    """
    tensors = read_saved(record).tensors["adapter"]
    layers = {
        1 + int(name.split(".")[1]): Coefficients(
            _plain(tensor), _plain(tensors[name.removesuffix(_NUMERATOR) + _DENOMINATOR])
        )
        for name, tensor in tensors.items()
        if name.startswith("layers.") and name.endswith(_NUMERATOR)
    }
    if not layers:
        raise RecordError(
            f"record {record} must be of a run with method.activation=rational, got one that learned "
            "no activation."
        )
    initial = Coefficients(GELU_NUMERATOR, GELU_DENOMINATOR)
    return Activations(initial, dict(sorted(layers.items())))


def _plain(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.double().tolist())
