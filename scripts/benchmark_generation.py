"""Print the ratios of generation speed that are promised on a CPU, all from one run.

    python scripts/benchmark_generation.py            4 layers x 1024, random weights
    python scripts/benchmark_generation.py --beams 1 --tenants 1 --decoding plain static compiled
    python scripts/benchmark_generation.py --beams 1 --methods pedro --prompts 1 --tenants 16

Ratios: PEDRO to the bare backbone (target 0.97), PEDRO to unmerged LoRA (above 1), a mixed batch of
tenants to the same batch of one tenant (0.95), a bank of LoRA tenants to peft's mixed batch, and fast
steps to plain ones. Every other repeat goes through the systems backwards, and all of them have the same
number of warm-ups, at least one. A ratio is the median over pairs of repeats, one in each order, of the
geometric mean of the ratios within the two: take an even number.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pedro_bench.cli.command import logs_to_stderr
from pedro_bench.cli.hydra.compose import side_by_side
from pedro_bench.efficiency.compare import Comparison, compare, ratio
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


def ratios(rows: Sequence[dict[str, Any]], beams: Sequence[int], size: int) -> dict[str, Any]:
    """Return every ratio of which both rows were measured, by its name.

    Args:
        rows: What `compare` returned as `rows`.
        beams: Numbers of beams.
        size: Tenants of a mixed batch.
    """
    plain = {"sequences": 1, "tenants": 1, "mixed": False, "merged": False, "decoding": "plain"}
    mixed = {"sequences": size, "tenants": size, "mixed": True}

    def row(method: str, count: int, **others: Any) -> dict[str, Any]:
        return {"method": method, "beams": count, **plain, **others}

    asked = {}
    for count in beams:
        for how in dict.fromkeys(one["decoding"] for one in rows):
            bare, pedro, lora = (
                row(name, count, decoding=how) for name in ("none", "pedro", "lora")
            )
            asked[f"pedro / bare, beams {count}, {how}"] = (pedro, bare)
            asked[f"pedro / lora, beams {count}, {how}"] = (pedro, lora)
            if how != "plain":
                asked[f"{how} pedro / plain pedro, beams {count}"] = (pedro, row("pedro", count))
            for method in ("pedro", "lora"):
                many = row(method, count, decoding=how, **mixed)
                one = row(method, count, decoding=how, sequences=size)
                peer = row("peft_lora", count, **mixed)
                asked[f"{method}: {size} tenants / one tenant, beams {count}, {how}"] = (many, one)
                asked[f"{method} / peft's lora, {size} tenants, beams {count}, {how}"] = (
                    many,
                    peer,
                )
    made: dict[str, Any] = {}
    for name, (above, below) in asked.items():
        upper, lower = _row(rows, above), _row(rows, below)
        found = ratio(upper, lower) if upper is not None and lower is not None else None
        if above != below and found is not None:
            made[name] = found
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
        return compare(comparison, report=show)


def _row(rows: Sequence[dict[str, Any]], fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return the row with these fields, None where it was not measured."""
    return next(
        (row for row in rows if all(row[name] == value for name, value in fields.items())), None
    )


def show(line: str) -> None:
    """Print progress where it does not mix with the result."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=6, help="an even number")
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="before each turn, at least 1")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--tenants", type=int, default=16, help="sequences of a mixed batch; 1: none"
    )
    parser.add_argument("--methods", nargs="+", default=["none", "lora", "pedro"])
    parser.add_argument("--decoding", nargs="+", default=["plain"])
    parser.add_argument("--results", default="results")
    parser.add_argument("overrides", nargs="*", help="another backbone, such as backbone=llama2_7b")
    given = parser.parse_args()
    chosen = given.overrides or backbone_arguments(SHAPE)
    found = measure(
        [*chosen, f"results_dir={given.results}"],
        methods=given.methods,
        decoding=given.decoding,
        beams=given.beams,
        tenants=[given.tenants] if given.tenants > 1 else [],
        repeats=given.repeats,
        prompts=given.prompts,
        warmup=given.warmup,
    )
    made = ratios(found["rows"], given.beams, given.tenants)
    print(json.dumps({"device": found["device"], "ratios": made, "rows": found["rows"]}, indent=1))


if __name__ == "__main__":
    main()
