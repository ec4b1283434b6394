"""The types of peft that this package registers, in small sizes, and adapters whose numbers matter."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from pedro_bench.integrations import peft as types
from tests.tiny import build_method

TYPES: dict[str, tuple[Any, dict[str, Any], str, dict[str, Any]]] = {
    "PEDRO": (types.PedroConfig, {"r": 4}, "pedro", {"r": 4, "bilevel": "none"}),
    "RED": (types.RedConfig, {}, "red", {}),
    "LPT": (
        types.LptConfig,
        {"num_virtual_tokens": 3, "bottleneck_size": 8},
        "lpt",
        {"num_virtual_tokens": 3, "bottleneck_size": 8},
    ),
    "LOW_RANK_IA3": (types.LowRankIA3Config, {"r": 4}, "ia3", {"r": 4}),
    "BITFIT": (types.BitFitConfig, {"r": 4}, "bitfit", {"r": 4}),
    "INFIX": (
        types.InfixConfig,
        {"num_virtual_tokens": 3},
        "infix_tuning",
        {"num_virtual_tokens": 3},
    ),
}
"""Type -> (configuration, its settings, the method's YAML, the same settings there)."""

PROMPTED = ("PEDRO", "LPT", "INFIX")
"""Types that must know where the prompt ends."""

ROWWISE = ("PEDRO", "RED", "LOW_RANK_IA3", "BITFIT")
"""Types whose adapters mix in one batch."""


def config_of(kind: str, **changes: Any) -> Any:
    make, settings, _, _ = TYPES[kind]
    return make(**{"task_type": "CAUSAL_LM", **settings, **changes})


def method_of(kind: str) -> Any:
    _, _, name, settings = TYPES[kind]
    return build_method(name, **settings)


def model_of(folder: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **options)


def move(parameters: Any, *, seed: int = 1, by: float = 0.2) -> None:
    """Move every parameter by random numbers, the same for the same seed and order."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


def arguments(batch: Any) -> dict[str, Any]:
    """A batch of this package in the words of Transformers."""
    return {
        "input_ids": batch.input_ids_BT,
        "attention_mask": batch.attention_mask_BT.long(),
        "labels": batch.labels_BT,
    }


def prompts_of(batch: Any) -> dict[str, Any]:
    """The prompts of a batch alone, padded on the left."""
    rows = [ids[real] for ids, real in zip(batch.input_ids_BT, batch.prompt_mask_BT, strict=True)]
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :], mask[number, width - len(row) :] = row, 1
    return {"input_ids": ids, "attention_mask": mask}
