"""SSP's scale and bias at a normalisation against the normalisation with other weights, of every kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pedro_bench.methods.ssp.layers import BiasDelta, NormScaleDelta
from pedro_bench.methods.ssp.places import PlaceDeltas
from tests.tiny import CONFIGS


def norms_of_transformers() -> dict[str, nn.Module]:
    """Normalisations of decoders that have Llama's module names, by their class."""
    from transformers.models.cohere.modeling_cohere import CohereLayerNorm
    from transformers.models.cohere2.modeling_cohere2 import Cohere2LayerNorm
    from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
    from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

    return {
        "cohere": CohereLayerNorm(32),
        "cohere2": Cohere2LayerNorm(32),
        "nemotron": NemotronLayerNorm1P(32),
        "olmo2": Olmo2RMSNorm(32),
    }


def check(norm: nn.Module) -> None:
    """Compare at inputs with a mean, and small enough for the epsilon to be seen."""
    torch.manual_seed(0)
    scale, bias = NormScaleDelta(norm, 32), BiasDelta(32)
    with torch.no_grad():
        scale.scale.normal_()
        bias.bias.normal_()
    changes = PlaceDeltas({"scale": scale, "bias": bias})
    for size in (1.0, 1e-3):
        x = size * (torch.randn(2, 3, 32) + 0.7)
        with torch.no_grad():
            given = changes(x, norm(x), None)
            norm.weight += scale.scale
            expected = norm(x) + bias.bias
            norm.weight -= scale.scale
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", sorted(norms_of_transformers()))
def test_a_changed_scale_is_the_norms_with_other_weights(name: str) -> None:
    check(norms_of_transformers()[name])


@pytest.mark.parametrize("layout", sorted(CONFIGS))
def test_a_changed_scale_on_every_family(load_tiny: Callable[..., Any], layout: str) -> None:
    backbone: Any = load_tiny(layout)
    sites = backbone.sites("norm")
    assert len(sites) == backbone.shape.num_norms
    check(sites[0].module)
    check(sites[-1].module)
