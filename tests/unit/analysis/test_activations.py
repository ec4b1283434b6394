"""A run's learned activations: the same function as the method's, kept beside the record."""

import json

import numpy as np
import pytest

from pedro_bench.analysis.activations import (
    Activations,
    Coefficients,
    activations_path,
    gelu,
    rational,
    read_activations,
    shown_layers,
    write_activations,
)
from pedro_bench.errors import RecordError
from pedro_bench.nn.vector_generator import GELU_DENOMINATOR, GELU_NUMERATOR
from tests.unit.analysis.runs import run

INITIAL = Coefficients(GELU_NUMERATOR, GELU_DENOMINATOR)


def test_r_is_what_the_method_computes():
    import torch

    from pedro_bench.nn.vector_generator import Rational

    x = torch.linspace(-4, 4, 33)
    expected = Rational()(x).detach().double().numpy()
    np.testing.assert_allclose(rational(x.double().numpy(), INITIAL), expected, atol=1e-6)
    assert gelu(np.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("depth", "layers"),
    [
        (32, (1, 9, 17, 25)),
        (40, (1, 9, 17, 25)),
        (16, (1, 5, 9, 13)),
        (6, (1, 2, 4, 5)),
        (2, (1, 2)),
    ],
)
def test_layers_of_the_paper_or_the_same_shares_of_the_depth(depth, layers):
    assert shown_layers(depth) == layers


def test_activations_are_kept_beside_the_record(tmp_path):
    record = run(tmp_path)
    assert read_activations(record) is None
    learned = Activations(INITIAL, dict.fromkeys(range(1, 12), INITIAL))
    assert write_activations(record, learned) == activations_path(record)
    assert read_activations(record) == learned
    activations_path(record).write_text(json.dumps({"layers": 3}))
    with pytest.raises(RecordError, match="must hold the coefficients of a run's activations, got"):
        read_activations(record)
