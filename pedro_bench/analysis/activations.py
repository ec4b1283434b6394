"""Learned activations: the coefficients of the rational functions that a run ended with, twelve a layer.

They are kept beside the run's record:

    <results_dir>/runs/<suite>/activations/<same stem as the record>.json

Adapters are no part of the records, so the coefficients are copied once, while the adapter is there; figures
are drawn from the copy. Without torch: R(x) is computed here in float64.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pedro_bench.errors import RecordError, reason
from pedro_bench.files import write_text

PAPER_LAYERS = (1, 9, 17, 25)
"""Layers that the paper draws, of 32, counted from 1."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    """Of one rational function: a_0 … a_6 and b_1 … b_5."""

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]


@dataclass(frozen=True)
class Activations:
    """What one run learned: the coefficients it started from, and number of a layer, from 1 -> its own."""

    initial: Coefficients
    layers: Mapping[int, Coefficients]


def activations_path(record: Path) -> Path:
    """Return where the activations of the record at `record` lie."""
    return record.parent / "activations" / f"{record.stem}.json"


def write_activations(record: Path, activations: Activations) -> Path:
    """Write a run's activations beside its record and return the path."""
    path = activations_path(record)
    write_text(path, json.dumps(asdict(activations), indent=1) + "\n")
    return path


def read_activations(record: Path) -> Activations | None:
    """Read a run's activations, or return None where none were kept.

    Raises:
        RecordError: If the file is damaged.
    """
    path = activations_path(record)
    if not path.is_file():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Activations)
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(
            f"file {path} must hold the coefficients of a run's activations, got {reason(error)}: remove it "
            "while the run's adapter is there, and it is made again."
        ) from error
    return Activations(found.initial, dict(sorted(found.layers.items())))


def shown_layers(num_layers: int) -> tuple[int, ...]:
    """Return the layers to draw, from 1: the paper's, or as many at the same shares of the depth."""
    if num_layers >= PAPER_LAYERS[-1]:
        return PAPER_LAYERS
    return tuple(dict.fromkeys(1 + quarter * num_layers // 4 for quarter in range(4)))


def rational(x: Array, coefficients: Coefficients) -> Array:
    """Return R(x) = sum a_j x^j / (1 + |sum b_i x^i|)."""
    above = np.polynomial.polynomial.polyval(x, coefficients.numerator)
    below = 1 + np.abs(np.polynomial.polynomial.polyval(x, (0.0, *coefficients.denominator)))
    return np.asarray(above / below, dtype=np.float64)


def gelu(x: Array) -> Array:
    """Return x times the standard normal distribution function of x."""
    return np.asarray(x * ndtr(x), dtype=np.float64)
