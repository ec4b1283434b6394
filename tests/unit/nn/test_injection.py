"""A module's arguments are found and replaced by name, however they were passed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pedro_bench.nn.injection import BackboneInjection
from pedro_bench.protocols.backbone import Site


class Sum(nn.Module):
    def forward(self, first: int, second: int = 10, **others: int) -> tuple[int, int, int]:
        return first, second, sum(others.values())


def test_arguments_by_place_and_by_name(tiny_backbone: Any) -> None:
    injection = BackboneInjection(tiny_backbone, "test")
    site = Site("block", 0, "sum", Sum())
    seen: list[Mapping[str, Any]] = []

    def change(arguments: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(dict(arguments))
        return {"second": arguments.get("second", 0) + 1, "third": 5}

    injection.on_arguments(site, change)
    assert site.module(1, 2) == (1, 3, 5)
    assert site.module(1, second=4) == (1, 5, 5)
    assert site.module(first=1, third=9) == (1, 1, 5)
    assert seen == [{"first": 1, "second": 2}, {"first": 1, "second": 4}, {"first": 1, "third": 9}]
    injection.undo()
    assert site.module(1, 2) == (1, 2, 0)


def test_the_attention_and_the_rotary_module_are_roles(tiny_backbone: Any) -> None:
    injection = BackboneInjection(tiny_backbone, "test")
    layers = tiny_backbone.model.model.layers
    assert [site.module for site in injection.sites(("attention",))] == [
        layer.self_attn for layer in layers
    ]
    (rotary,) = injection.sites(("positions",))
    cos, _ = rotary.module(torch.zeros(1), position_ids=torch.arange(3)[None])
    assert cos.shape == (1, 3, 8)
