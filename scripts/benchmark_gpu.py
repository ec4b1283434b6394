"""Take every measurement that needs a GPU, in under nine minutes; one JSON file and the records remain.

    python scripts/benchmark_gpu.py                   Llama-2 7B's shape, random weights, bfloat16

1. Table 3: the bare backbone, LoRA, (IA)^3 and PEDRO, one prompt at a time, beams 1 and 3. Targets: PEDRO
   1.29 times LoRA at beam 1 and 1.25 times at beam 3 (the paper's ratios).
2. 64 tenants in one batch, beside peft's mixed batch of LoRA. Target: 1.5 times.
3. Training beside Hugging Face Trainer + peft. Targets: 1.5 times the speed, 0.7 of the memory.

Each part is a process of its own and is stopped when the time is up, so the whole never takes longer; what
was stopped is named in the result. There is no compiled decoding step yet, so nothing is said of one.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 530
BACKBONE = ("backbone=llama2_7b", "backbone.random_weights=true", "device=cuda")


def parts(results: str, backbone: tuple[str, ...]) -> dict[str, list[str]]:
    """Return name -> command, the most wanted first."""
    here = Path(__file__).parent
    efficiency = [sys.executable, "-m", "pedro_bench.cli.efficiency", *backbone]
    common = [f"results_dir={results}", "rerun=true", "output=json"]
    return {
        "table3": [*efficiency, *common, "repeats=3", "prompts=3", "methods=[none,lora,ia3,pedro]"],
        "training": [
            *(sys.executable, str(here / "benchmark_training.py"), "--repeats", "2"),
            *("--steps", "3", *backbone),
        ],
        "tenants": [
            *efficiency,
            *common,
            *("repeats=2", "prompts=2", "beams=[1]", "tenants=[64]", "methods=[lora,pedro]"),
        ],
    }


def run(command: list[str], seconds: float) -> dict[str, Any]:
    """Run one part; return what it printed, or why there is nothing."""
    if seconds <= 0:
        return {"stopped": "no time was left"}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired:
        return {"stopped": f"it took longer than the {seconds:.0f} seconds that were left"}
    except subprocess.CalledProcessError as error:
        return {"stopped": f"it ended with exit code {error.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def headline(found: dict[str, Any]) -> dict[str, float]:
    """Return the promised ratios of speed, of the parts that finished."""
    made = {}
    speed = {
        (row["method"], row["beams"], row["tenants"]): row["tokens_per_second"]
        for part in ("table3", "tenants")
        for row in found[part].get("rows", [])
        if row["mixed"] == (part == "tenants")
    }
    for beams in (1, 3):
        if ("pedro", beams, 1) in speed and ("lora", beams, 1) in speed:
            made[f"pedro / lora, beams {beams}"] = (
                speed["pedro", beams, 1] / speed["lora", beams, 1]
            )
    for method in ("pedro", "lora"):
        if (method, 1, 64) in speed:
            made[f"{method} / peft's lora, 64 tenants"] = (
                speed[method, 1, 64] / speed["peft_lora", 1, 64]
            )
    return made


def main() -> None:
    """Run all parts and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default="results")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("backbone", nargs="*", default=list(BACKBONE))
    given = parser.parse_args()
    ends = time.monotonic() + given.seconds
    found = {
        name: run(command, ends - time.monotonic())
        for name, command in parts(given.results, tuple(given.backbone)).items()
    }
    found["ratios"] = headline(found)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["ratios"], indent=1))


if __name__ == "__main__":
    main()
