"""A prefix in the layout of a layer's own keys and values."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from pedro_bench.nn.cached_prefix import GivenPrefix, visible
from pedro_bench.protocols.cache import CACHE

IDS = torch.tensor([[1, 5, 9, 12, 40, 7], [1, 7, 33, 2, 6, 8]])


@pytest.mark.parametrize("layout", ["llama", "gpt2", "gpt_neox", "falcon", "falcon_grouped"])
def test_a_prefix_is_laid_out_as_the_layer_lays_out_what_it_projects(
    load_tiny: Callable[..., Any], layout: str
) -> None:
    """What the value projection puts out, given as a prefix, is what the layer itself caches of it."""
    backbone = load_tiny(layout)
    (site,) = backbone.sites("value")[:1]
    projected: list[Tensor] = []

    def take(_module: Any, _given: Any, whole: Tensor) -> None:
        projected.append(site.columns.take(whole) if site.columns else whole)

    handle = site.module.register_forward_hook(take)
    cache = DynamicCache()
    with torch.no_grad():
        backbone.decoder(input_ids=IDS, use_cache=True, **{CACHE: cache})
    handle.remove()
    own = cache.layers[0].values
    (flat,) = projected
    _, values = GivenPrefix(None, (flat, flat)).update(own, own)
    assert torch.equal(values, torch.cat([own, own], dim=2))


def test_without_a_mask_a_step_sees_what_is_cached_and_itself() -> None:
    seen = visible(None, 2, 5, torch.device("cpu"))[0, 0]
    expected = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    assert torch.equal(seen, expected)
