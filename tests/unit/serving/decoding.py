"""Prompts, answers on the plain and the fast path, and a backend that counts what it compiles."""

from typing import Any

import torch

from pedro_bench.evaluation.decoding import generate
from pedro_bench.protocols.batch import Encoded
from pedro_bench.serving import FastDecoder

LENGTHS = (5, 2, 9, 1, 7, 3, 12, 4)


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
