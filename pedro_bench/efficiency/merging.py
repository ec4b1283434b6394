"""Merging: an adapter that was added to the backbone's weights, so that no step sees it.

    W' = W + update(I)^T        the update alone, of the unit matrix, over a base of zeros

Merged weights are the bare backbone with other numbers: a backbone that serves one adapter and no other.
They are kept in main memory meanwhile and put back bit for bit.

Legend: I in-features, O out-features.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pedro_bench.efficiency.systems import Generate, bare, randomise, seeded
from pedro_bench.methods.adalora import AdaLora
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone, Site


@contextmanager
def merged(backbone: LoadedBackbone, method: Lora | AdaLora, seed: int) -> Iterator[Generate]:
    """One random adapter, merged into the weights.

    Args:
        backbone: The loaded backbone.
        method: One of `request.MERGEABLE`: every block stands beside a linear projection.
        seed: Of the adapter.
    """
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        _merge(backbone, method, seed, kept)
        with bare(backbone) as generate:
            yield generate
    finally:
        for rows, before in kept:
            rows.copy_(before)


def _merge(
    backbone: LoadedBackbone,
    method: Lora | AdaLora,
    seed: int,
    kept: list[tuple[Tensor, Tensor]],
) -> None:
    """Add an adapter to the weights; `kept` takes each changed part of them, and what it held before."""
    with seeded(backbone.device, seed):
        model = AdaptedModel(backbone, method)
        try:
            randomise(model.adapter)
            model.eval()
        finally:
            model.remove()
    for role in method.roles:
        for site in backbone.sites(role):
            rows = site.weight()
            kept.append((rows, rows.to("cpu", copy=True)))
            block = model.adapter.get_submodule(f"layers.{site.layer}.{site.role}")
            rows += update_of(block, site, rows.device).to(rows.dtype).view(rows.shape)


@torch.no_grad()
def update_of(block: nn.Module, site: Site, device: torch.device) -> Tensor:
    """Return what a block beside a projection adds to its weights, (O, I) in float32."""
    unit_II = torch.eye(site.inputs, device=device)
    update_IO: Tensor = block(unit_II, unit_II.new_zeros(site.inputs, site.outputs))
    return update_IO.mT
