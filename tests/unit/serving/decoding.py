"""Prompts, answers on the plain and the fast path, and a backend that counts what it compiles."""

from collections.abc import Callable
from typing import Any

import torch

from pedro_bench.evaluation.decoding import generate
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.method import Method
from pedro_bench.serving import AdapterBank, FastDecoder, TenantAdapter
from tests.tiny import build_method

LENGTHS = (5, 2, 9, 1, 7, 3, 12, 4)
REFUSED = ("full_ft", "full_ft_red", "ft_top2")
"""Methods that train the backbone's weights, which tenants share."""


class CountingBackend:
    """A backend of `torch.compile` that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.num_graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.num_graphs += 1
        return graph.forward


def make_prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoded(tuple(torch.randint(4, 35, (n,), generator=generator).tolist()), (), index)
        for index, n in enumerate(lengths)
    ]


def answers(adapted: Any, decoder: FastDecoder | None, beams: int, **options: Any) -> list[str]:
    prompts = options.pop("prompts", None) or make_prompts()
    options = {"num_beams": beams, "max_new_tokens": 6, "batch_size": 3, **options}
    if decoder is None:
        return generate(adapted, prompts, **options)
    with decoder.replacing(adapted.modules(), max_new_tokens=options["max_new_tokens"]):
        return generate(adapted, prompts, **options)


def without_search(name: str, backbone: Any) -> dict[str, Any]:
    """Settings with which a method that searches trains a structure of every kind of candidate at once."""
    method = build_method(name)
    if not method.is_searching:
        return {}
    found: dict[str, Any] = {"bilevel": "none", "architecture_lr": None}
    if name == "learned_adapter":
        options = ("ffn_down.gated", "attn_out.linear", "attn_out.identity")
        layers = range(backbone.shape.num_layers)
        return {**found, "structure": tuple(options[layer % 3] for layer in layers)}
    everything = [one.name for one in method.candidates(backbone.shape)]
    dropped = {"norm.scale", "layers.0.query.lora_0", "layers.1.ffn_up.bias"}
    return {**found, "budget": 0.99, "structure": [one for one in everything if one not in dropped]}


def open_bank(backbone: Any, name: str, adapters: dict[str, Any], **changes: Any) -> AdapterBank:
    bank = AdapterBank(backbone, build_method(name, **changes))
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    return bank


def check_mixed_tenants(
    backbone: Any, method: Method, adapted_of: Callable[[int], AdaptedModel], *, num_beams: int
) -> None:
    """Two tenants' prompts in one batch of a bank must have the answers of each tenant's adapter alone."""
    prompts = make_prompts()
    options: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": 5}
    adapters, alone = {}, {}
    for seed, tenant in enumerate(("anna", "ben")):
        adapted = adapted_of(seed)
        adapters[tenant] = TenantAdapter.of(adapted)
        alone[tenant] = generate(adapted, prompts, batch_size=1, **options)
        adapted.remove()
    assert alone["anna"] != alone["ben"]
    bank = AdapterBank(backbone, method)
    for tenant, adapter in adapters.items():
        bank.add(tenant, adapter)
    tenants = [("anna", "ben")[row % 2] for row in range(len(prompts))]
    found = bank.generate_encoded(tenants, prompts, batch_size=len(prompts), **options)
    assert found == [alone[tenant][row] for row, tenant in enumerate(tenants)]
    bank.close()
