"""Adapted tiny models whose vectors differ from one, so that the prompt's boundary can be seen."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def make_adapted(load_tiny: Callable[..., Any]) -> Callable[..., Any]:
    """A function that adapts a fresh tiny backbone: `make_adapted("pedro", seed=1, r=4)`."""
    import torch

    from pedro_bench.nn.adapted_model import AdaptedModel
    from tests.tiny import build_method

    def make(name: str = "pedro", seed: int = 0, family: str = "llama", **changes: Any) -> Any:
        torch.manual_seed(seed)
        adapted = AdaptedModel(load_tiny(family), build_method(name, **changes))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in adapted.adapter.parameters():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        adapted.eval()
        return adapted

    return make
