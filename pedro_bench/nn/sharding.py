"""Sharding: the frozen backbone's layers split over processes (FSDP2), what is trained whole in each.

Each process keeps its share of every decoder layer's weights; a layer is put together when it is run, forward
and backward, and taken apart again (`torch.distributed.fsdp.fully_shard`). Embedding, final normalisation and
head stay whole, and so does the adapter, whose gradients are summed as without sharding. So the numbers are
those of processes that hold the whole backbone.

As every layer's run takes all processes, all must make the same number of forward and backward passes
(`training.steps.Passes` sees to it), and a method that trains the backbone's own weights is refused.
"""

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import LoadedBackbone


def shard(backbone: LoadedBackbone, device: torch.device, num_processes: int) -> None:
    """Split the layers of a backbone over all processes; the rest goes to `device` whole.

    Args:
        backbone: The same in every process, on the CPU; no method is attached.
        device: This process's own.
        num_processes: How many share the layers.

    Raises:
        BackboneError: If its weights are quantised.
    """
    quantised = [
        name for name, one in backbone.model.named_parameters() if not one.is_floating_point()
    ]
    if quantised:
        raise BackboneError(
            "a backbone whose layers are split by FSDP must have plain weights, got quantised ones in "
            f"{quantised[0]!r}: leave backbone.quantization away, or start accelerate without --use_fsdp."
        )
    mesh = init_device_mesh(device.type, (num_processes,))
    decoder = backbone.decoder
    blocks = [site.module for site in backbone.sites("block")]
    others = set(decoder.parameters()) - {one for block in blocks for one in block.parameters()}
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(decoder, mesh=mesh, ignored_params=others)
    backbone.model.to(device)


def is_sharded(backbone: LoadedBackbone) -> bool:
    """Whether the layers are split over processes."""
    return isinstance(backbone.decoder, FSDPModule)
