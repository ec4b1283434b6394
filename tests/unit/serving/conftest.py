"""Trained-looking adapters of tiny models, and what each gives alone."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tiny import build_method


@pytest.fixture
def make_tenant(load_tiny: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a tenant's adapted model: `make_tenant("pedro", seed=3)`."""
    import torch

    from pedro_bench.nn.adapted_model import AdaptedModel

    def make(name: str, seed: int, backbone: Any = None, **changes: Any) -> Any:
        torch.manual_seed(seed)
        adapted = AdaptedModel(backbone or load_tiny(), build_method(name, **changes))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in adapted.adapter.parameters():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        adapted.eval()
        return adapted

    return make
