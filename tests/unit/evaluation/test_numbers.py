"""Outputs that are not numbers: no answer is chosen by them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import TrainingError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import Head
from tests.unit.evaluation.bare import adapt

ROWS = (Encoded((1, 5, 6, 7), (8, 2), 0), Encoded((1, 9), (10, 2), 1))


def broken(backbone: Any, value: float) -> AdaptedModel:
    """Return an adapted model whose last normalisation gives one number that is none."""

    def spoil(module: Any, given: Any, hidden_BTD: torch.Tensor) -> torch.Tensor:
        spoilt = hidden_BTD.clone()
        spoilt[0, -1, 0] = value
        return spoilt

    backbone.decoder.norm.register_forward_hook(spoil)
    return adapt(backbone)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("num_beams", [1, 2])
def test_text_is_not_written_from_what_is_no_number(
    value: float, num_beams: int, load_tiny: Callable[..., Any]
) -> None:
    adapted = broken(load_tiny("llama"), value)
    with pytest.raises(TrainingError, match=r"logits must be finite numbers.*backbone\.dtype=bf"):
        generate(adapted, ROWS, num_beams=num_beams, max_new_tokens=3, batch_size=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_likelihood_is_taken_from_what_is_no_number(
    value: float, load_tiny: Callable[..., Any]
) -> None:
    backbone = load_tiny("llama")
    backbone.decoder.norm.register_forward_hook(lambda module, given, hidden: hidden * value)
    adapted = adapt(backbone)
    with pytest.raises(TrainingError, match="log-likelihoods must be finite numbers"):
        loglikelihood(adapted, ROWS, batch_size=2)


@pytest.mark.parametrize("head", [Head(("yes", "no")), Head((), 0.0, 5.0)])
def test_a_head_says_nothing_from_what_is_no_number(head: Head) -> None:
    with pytest.raises(TrainingError, match="outputs must be finite numbers, got .nan"):
        head.answer([float("nan")] * head.num_outputs)
