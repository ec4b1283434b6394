"""How blocks start where a reference copies numbers from them: the deviations and zeros of their papers."""

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from pedro_bench.methods.adalora.layers import SvdUpdate
from pedro_bench.methods.houlsby_adapter.layers import Bottleneck
from pedro_bench.methods.learned_adapter.layers import LearnedAdapter
from pedro_bench.methods.lpt.layers import LatePromptGenerator
from pedro_bench.nn.blocks import FreeVector
from pedro_bench.nn.vector_generator import VectorGenerator

Starts = Mapping[str, tuple[float, float]]
"""Name of a tensor -> its mean and deviation."""

CUT = 0.8796
"""Deviation of a standard normal that is drawn again beyond two deviations."""

BLOCKS: dict[str, tuple[Callable[[], nn.Module], Starts]] = {
    "pedro": (
        lambda: VectorGenerator(300, 40, [50, 60], activation="relu", pooling="last"),
        {"down": (0, 0.02), "up": (0, 0), "bias": (1, 0)},
    ),
    "adalora": (
        lambda: SvdUpdate(300, 200, 40, alpha=16, dropout=0.0),
        {"lora_A": (0, 0.02), "lora_E": (0, 0), "lora_B": (0, 0.02)},
    ),
    "houlsby_adapter": (
        lambda: Bottleneck(300, 40),
        {
            "down": (0, CUT * 1e-3),
            "down_bias": (0, 0),
            "up": (0, CUT * 1e-3),
            "up_bias": (0, 0),
        },
    ),
    "learned_adapter": (
        lambda: LearnedAdapter(300, 40, ["identity", "gated"]),
        {
            "down": (0, 0.02),
            "down_bias": (0, 0),
            "operators.gated.weight": (0, 0),
            "up": (0, 0),
            "up_bias": (0, 0),
        },
    ),
    "lpt": (
        lambda: LatePromptGenerator(300, 200, 8, pooling="max"),
        {"down.weight": (0, (3 * 300) ** -0.5), "up.weight": (0, (3 * 200) ** -0.5)},
    ),
}


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_starts_as_its_paper_or_code_says(name: str) -> None:
    torch.manual_seed(0)
    make, starts = BLOCKS[name]
    tensors = dict(make().named_parameters())
    assert set(starts) <= set(tensors)
    for key, (mean, deviation) in starts.items():
        tensor = tensors[key].detach()
        if deviation == 0:
            assert bool((tensor == mean).all()), key
            continue
        assert float(tensor.std()) == pytest.approx(deviation, rel=0.05), key
        assert abs(float(tensor.mean())) < 5 * deviation / math.sqrt(tensor.numel()), key


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_factored_vector_starts_at_its_constant_with_unequal_rows(start: float) -> None:
    torch.manual_seed(0)
    vector = FreeVector(7, start=start, r=900)
    inner = vector.inner.detach()
    assert float(inner[0]) == 1
    assert float(inner[1:].std()) == pytest.approx(900**-0.5, rel=0.1)
    assert torch.equal(vector.projection[0].detach(), torch.full((7,), start))
    assert not bool(vector.projection[1:].any())
    assert torch.equal(vector().detach(), torch.full((7,), start))
