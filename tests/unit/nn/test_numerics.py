"""Blocks on a bfloat16 backbone compute in float32 and round once, at what they give back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pedro_bench.methods.adalora.layers import SvdUpdate
from pedro_bench.methods.houlsby_adapter.layers import Bottleneck
from pedro_bench.methods.loreft.layers import SubspaceIntervention
from pedro_bench.methods.lpt.layers import LatePromptGenerator
from pedro_bench.methods.road.layers import Rotation
from pedro_bench.nn.blocks import LowRankUpdate
from pedro_bench.nn.vector_generator import VectorGenerator
from pedro_bench.protocols.context import PromptContext

D = 48
MASK_BT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])

CHANGES: dict[str, tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]] = {
    "houlsby_adapter": (Bottleneck(D, 5), lambda block, x: block(x)),
    "road": (Rotation(D, "road_2", 2), lambda block, x: block(x)),
    "loreft": (SubspaceIntervention(D, 5, dropout=0.0), lambda block, x: block(x, MASK_BT)),
}
"""What replaces a hidden state."""

UPDATES: dict[str, nn.Module] = {
    "lora": LowRankUpdate(D, D, 5, scaling=2.0, dropout=0.0),
    "adalora": SvdUpdate(D, D, 5, alpha=16, dropout=0.0),
}
"""What is added to a projection's output; the sum is that of the backbone's dtype."""

GENERATORS: dict[str, tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]] = {
    "pedro": (
        VectorGenerator(D, 5, [D, 7], activation="rational", pooling="mean"),
        lambda block, x: torch.cat(block(x, PromptContext(MASK_BT)), dim=1),
    ),
    "lpt": (LatePromptGenerator(D, 9, 4, pooling="mean"), lambda block, x: block(x, MASK_BT)),
}
"""What is made of the prompt: it stays float32."""


def moved(block: nn.Module) -> tuple[nn.Module, Tensor]:
    """Return the block off its start, and hidden states (B, T, D) in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return block, torch.randn(*MASK_BT.shape, D, generator=generator).bfloat16()


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_replaces_a_hidden_state_is_rounded_once(name: str) -> None:
    block, x = moved(CHANGES[name][0])
    given = CHANGES[name][1](block, x)
    assert given.dtype == torch.bfloat16
    assert torch.equal(given, CHANGES[name][1](block, x.float()).bfloat16())


@pytest.mark.parametrize("name", sorted(UPDATES))
def test_what_is_added_is_rounded_once(name: str) -> None:
    block, x = moved(UPDATES[name])
    base = x.flip(0)
    given = block(x, base)
    update = block(x.float(), torch.zeros_like(base).float())
    assert given.dtype == torch.bfloat16
    assert torch.equal(given, base + update.bfloat16())


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_what_is_made_of_the_prompt_is_not_rounded(name: str) -> None:
    block, x = moved(GENERATORS[name][0])
    given = GENERATORS[name][1](block, x)
    assert given.dtype == torch.float32
    assert torch.equal(given, GENERATORS[name][1](block, x.float()))
