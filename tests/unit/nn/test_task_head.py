"""The head of an encoder: both starts, and the RED paper's head by an independent module."""

import math

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.nn.task_head import TaskHead
from pedro_bench.protocols.head import Head

D, LABELS = 16, Head(labels=("yes", "no", "good"))


class RedHead(nn.Module):
    """RED's head of RoBERTa: half of the features are dropped before each of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(D, D)
        self.out_proj = nn.Linear(D, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        inner_BD = self.dense(self.drop(hidden_BTD[:, 0]))
        outputs_BC: Tensor = self.out_proj(self.drop(inner_BD.tanh()))
        return outputs_BC


def made(deviation: float | None, dropout: float = 0.5) -> TaskHead:
    torch.manual_seed(0)
    return TaskHead(LABELS, D, deviation=deviation, dropout=dropout)


@pytest.mark.parametrize("training", [False, True])
def test_the_head_of_red(training: bool) -> None:
    """Start, outputs and gradients, with the same features dropped."""
    head = made(None).train(training)
    torch.manual_seed(0)
    reference = RedHead().train(training)
    hidden_BTD = torch.randn(5, 4, D)
    found = []
    for one in (head, reference):
        torch.manual_seed(7)
        outputs = one(hidden_BTD)
        outputs.square().sum().backward()
        found.append([outputs, *(p.grad for p in one.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert {name: p.shape for name, p in head.named_parameters()} == {
        name: p.shape for name, p in reference.named_parameters()
    }


def test_pytorchs_start_is_uniform_within_one_over_the_root_of_the_width() -> None:
    values = torch.cat([p.detach().flatten() for p in made(None).parameters()]) * math.sqrt(D)
    assert 0.9 < values.abs().max() <= 1
    assert values.std() == pytest.approx(1 / math.sqrt(3), abs=0.06)


def test_transformers_start_is_normal_and_without_biases() -> None:
    head = made(0.02)
    assert head.dense.weight.detach().std() == pytest.approx(0.02, rel=0.15)
    assert not head.dense.bias.any() and not head.out_proj.bias.any()
