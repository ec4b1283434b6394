"""Print the ratios of generation speed that are promised on a CPU, all from one run.

    python scripts/benchmark_generation.py            4 layers x 1024, random weights, about ten minutes
    python scripts/benchmark_generation.py --repeats 3 --prompts 2 --tenants 16

Ratios: PEDRO to the bare backbone (target 0.97), PEDRO to unmerged LoRA (above 1), a mixed batch of
tenants to the same batch of one tenant (0.95), and a bank of LoRA tenants to peft's mixed batch. Each is
the median over repeats of the ratio within one repeat, where both took their turns one after the other.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.cli.command import logs_to_stderr
from pedro_bench.cli.compose import side_by_side
from pedro_bench.efficiency.compare import Comparison, compare
from pedro_bench.efficiency.request import DEFAULTS, request_of
from pedro_bench.protocols.settings import build_group

SHAPE = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""The shape that the CPU targets speak of: Llama's proportions at four layers of width 1024."""


def backbone_arguments(shape: dict[str, Any]) -> list[str]:
    """Return the overrides that build a shape with random weights."""
    entries = ",".join(f"{key}:{json.dumps(value)}" for key, value in shape.items())
    name = f"llama_{shape['num_hidden_layers']}x{shape['hidden_size']}"
    return [
        "backbone=causal_lm",
        f"backbone.name={name}",
        "backbone.random_weights=true",
        f"backbone.architecture={{{entries.replace(chr(34), '')}}}",
    ]


def ratio(found: dict[str, Any], above: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Return the median over repeats of the ratio of two rows, and its lowest and highest value.

    Args:
        found: What `compare` returned.
        above: Fields that choose the row above the line, such as `{"method": "pedro", "beams": 1}`.
        below: Likewise below the line.
    """
    speeds = _speeds(found)
    pairs = zip(speeds[_place(found, above)], speeds[_place(found, below)], strict=True)
    ratios = [one / other for one, other in pairs]
    return {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def ratios(found: dict[str, Any], beams: Sequence[int], size: int) -> dict[str, Any]:
    """Return every promised ratio by its name."""

    def row(method: str, count: int, **others: Any) -> dict[str, Any]:
        plain = {"sequences": 1, "tenants": 1, "mixed": False}
        return {"method": method, "beams": count, **plain, **others}

    made = {}
    for count in beams:
        bare, pedro, lora = (row(name, count) for name in ("none", "pedro", "lora"))
        made[f"pedro / bare, beams {count}"] = ratio(found, pedro, bare)
        made[f"pedro / lora, beams {count}"] = ratio(found, pedro, lora)
        if size < 2:
            continue
        mixed = {"sequences": size, "tenants": size, "mixed": True}
        for method in ("pedro", "lora"):
            made[f"{method}: {size} tenants mixed / one tenant, beams {count}"] = ratio(
                found, row(method, count, **mixed), row(method, count, sequences=size)
            )
        for method in ("pedro", "lora"):
            made[f"{method} / peft's lora, {size} tenants mixed, beams {count}"] = ratio(
                found, row(method, count, **mixed), row("peft_lora", count, **mixed)
            )
    return made


def measure(arguments: Sequence[str], **own: Any) -> dict[str, Any]:
    """Run one comparison without leaving it unmeasured because of an earlier one.

    Args:
        arguments: Overrides that choose the backbone, and whatever else is not a key of `own`.
        own: Keys of `cli.efficiency`, in place of their defaults.
    """
    request = request_of({**DEFAULTS, **own})
    names = [name for name in request.methods if name != "none"]
    config, built = side_by_side("method", names, arguments)
    methods = {
        name: build_group("method", built[name]) if name in built else None
        for name in request.methods
    }
    comparison = Comparison(
        request,
        methods,
        build_group("backbone", config["backbone"]),
        None,
        {"name": "paper_lengths"},
        config["device"],
        config["results_dir"],
        rerun=True,
    )
    with logs_to_stderr():
        return compare(comparison, tell=print)


def _speeds(found: dict[str, Any]) -> list[list[float]]:
    """Return each row's speeds, repeat by repeat."""
    paths = iter(found["records"])
    return [
        [
            records.read(Path(next(paths))).metrics["test"]["tokens_per_second"]
            for _ in range(row["repeats"])
        ]
        for row in found["rows"]
    ]


def _place(found: dict[str, Any], fields: dict[str, Any]) -> int:
    return next(
        place
        for place, row in enumerate(found["rows"])
        if all(row[name] == value for name, value in fields.items())
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--tenants", type=int, default=16, help="sequences of a mixed batch; 1: none"
    )
    parser.add_argument("--results", default="results")
    parser.add_argument("overrides", nargs="*", help="another backbone, such as backbone=llama2_7b")
    given = parser.parse_args()
    chosen = given.overrides or backbone_arguments(SHAPE)
    found = measure(
        [*chosen, f"results_dir={given.results}"],
        methods=["none", "lora", "pedro"],
        beams=given.beams,
        tenants=[given.tenants] if given.tenants > 1 else [],
        repeats=given.repeats,
        prompts=given.prompts,
    )
    made = ratios(found, given.beams, given.tenants)
    print(json.dumps({"device": found["device"], "ratios": made, "rows": found["rows"]}, indent=1))


if __name__ == "__main__":
    main()
