"""Vectors: what PEDRO's generators make of prompts, read from a finished run."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pedro_bench.errors import ContextError
from pedro_bench.protocols.method import Method
from pedro_bench.runs.saved_run import SavedRun


def prompt_vectors(run: SavedRun, prompts: Sequence[str]) -> dict[int, tuple[Tensor, ...]]:
    """Return the vectors of every layer for some prompts.

    Args:
        run: A finished run of a method with vector generators.
        prompts: Prompt texts, each read alone, so that no padding is about.

    Returns:
        Number of the layer, from 1 -> one float32 tensor (prompts, width) for each role it scales.

    Raises:
        ContextError: If the method has no vector generator.
    """
    generators = _generators(run)
    made: dict[int, list[tuple[Tensor, ...]]] = {layer: [] for layer in generators}
    handles = [
        module.register_forward_hook(
            lambda _module, _given, vectors, layer=layer: made[layer].append(vectors)
        )
        for layer, module in generators.items()
    ]
    try:
        for prompt in prompts:
            run.generate([prompt], num_beams=1, max_new_tokens=1)
    finally:
        for handle in handles:
            handle.remove()
    return {
        layer: tuple(torch.cat(parts).detach().cpu() for parts in zip(*each, strict=True))
        for layer, each in made.items()
    }


def similarity(parts: Sequence[Tensor]) -> Tensor:
    """Return the cosines (prompts, prompts) of one layer's vectors less one, all parts together."""
    change = torch.cat(list(parts), dim=1) - 1
    return torch.nn.functional.cosine_similarity(change.unsqueeze(1), change.unsqueeze(0), dim=-1)


def _generators(run: SavedRun) -> Mapping[int, torch.nn.Module]:
    found = {
        1 + int(name.split(".")[1]): module
        for name, module in run.adapted.adapter.named_modules()
        if name.startswith("layers.") and name.endswith(".generator")
    }
    if not found:
        method: Method = run.adapted.method
        raise ContextError(
            f"a run must be of a method that makes vectors from prompts, got {method.name!r}."
        )
    return found
