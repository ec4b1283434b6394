"""Log-likelihood: equal to a log-softmax by hand, whatever the neighbours."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pedro_bench.errors import DataError
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.method import Injection, Method, ParameterCount

PAIRS = (
    Encoded((1, 5, 6, 7), (8, 2), 0),
    Encoded((1, 9), (10, 11, 12, 2), 1),
    Encoded((1, 13, 14, 15, 16, 17, 18), (19,), 2),
    Encoded((20,), (21, 22), 3),
)


class Untouched(Method):
    """The bare backbone as a method: nothing is attached."""

    def count(self, shape: BackboneShape) -> ParameterCount:
        return ParameterCount(0, 0)

    def attach(self, injection: Injection) -> None:
        pass


def adapt(backbone: Any) -> AdaptedModel:
    return AdaptedModel(backbone, Untouched(name="test", label="test"))


def by_hand(backbone: Any, pair: Encoded) -> float:
    """Sum the log-softmax of the model's own logits, one token at a time, in double precision."""
    ids = list(pair.prompt_ids + pair.answer_ids)
    with torch.no_grad():
        logits = backbone.model(input_ids=torch.tensor([ids])).logits[0].double()
    total = 0.0
    for position in range(len(pair.prompt_ids), len(ids)):
        row = logits[position - 1].tolist()
        top = max(row)
        total += row[ids[position]] - top - math.log(sum(math.exp(x - top) for x in row))
    return total


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_equals_the_log_softmax_by_hand(
    load_tiny: Callable[..., Any], family: str, batch_size: int
) -> None:
    backbone = load_tiny(family)
    expected = [by_hand(backbone, pair) for pair in PAIRS]
    assert len({round(score, 2) for score in expected}) == len(PAIRS)
    scores = loglikelihood(adapt(backbone), PAIRS, batch_size=batch_size)
    assert scores == pytest.approx(expected, abs=1e-4)


def test_order_follows_the_pairs(tiny_backbone: Any) -> None:
    adapted = adapt(tiny_backbone)
    forward = loglikelihood(adapted, PAIRS, batch_size=2)
    backward = loglikelihood(adapted, PAIRS[::-1], batch_size=2)
    assert backward[::-1] == pytest.approx(forward, abs=1e-5)


def test_answers_of_one_prompt_are_a_distribution(tiny_backbone: Any) -> None:
    """Over all first tokens the probabilities sum to one."""
    vocabulary = tiny_backbone.shape.vocab_size
    pairs = [Encoded((1, 5, 6), (token,), token) for token in range(vocabulary)]
    scores = loglikelihood(adapt(tiny_backbone), pairs, batch_size=16)
    assert math.fsum(math.exp(score) for score in scores) == pytest.approx(1.0, abs=1e-5)


def test_a_pair_without_an_answer_is_refused(tiny_backbone: Any) -> None:
    pairs = [PAIRS[0], Encoded((1, 5), (), 1)]
    with pytest.raises(
        DataError, match=r"must have an answer to be scored, got none at position 1"
    ):
        loglikelihood(adapt(tiny_backbone), pairs, batch_size=2)


def test_no_pairs_give_no_scores(tiny_backbone: Any) -> None:
    assert loglikelihood(adapt(tiny_backbone), [], batch_size=2) == []


def test_no_gradients_and_training_mode_restored(tiny_backbone: Any) -> None:
    adapted = adapt(tiny_backbone)
    adapted.train()
    modes = [module.training for module in adapted.modules()]
    loglikelihood(adapted, PAIRS, batch_size=2)
    assert [module.training for module in adapted.modules()] == modes
    assert torch.is_grad_enabled()
