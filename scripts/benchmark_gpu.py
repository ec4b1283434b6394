"""Take every measurement that needs a GPU, in under nine minutes; one JSON file and the records remain.

    python scripts/benchmark_gpu.py                   Llama-2 7B's shape, random weights, bfloat16

1. Table 3: the bare backbone, LoRA, (IA)^3 and PEDRO, one prompt at a time, beams 1 and 3. Targets: PEDRO
   1.29 times LoRA at beam 1 and 1.25 times at beam 3 (the paper's ratios).
2. Compiled steps of the bare backbone and of PEDRO at beam 1, one CUDA graph a step. Targets: 85% of the
   measured limit of the memory's bandwidth, 0.98 of the bare backbone.
3. Training beside Hugging Face Trainer + peft. Targets: 1.5 times the speed, 0.7 of the memory.
4. 64 tenants in one batch, beside peft's mixed batch of LoRA. Target: 1.5 times.

Each part is a process of its own and is stopped when the time is up, so the whole never takes longer; what
was stopped is named in the result. `--small` takes every part in its smallest form, to see that all of them
run, and `backbone=micro device=cpu` takes them on a CPU.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 530
TENANTS = 64
BACKBONE = ("backbone=llama2_7b", "backbone.random_weights=true", "device=cuda")


def parts(results: str, backbone: tuple[str, ...], *, small: bool = False) -> dict[str, list[str]]:
    """Return name -> command, the most wanted first."""
    here = Path(__file__).parent
    efficiency = [sys.executable, "-m", "pedro_bench.cli.efficiency", *backbone]
    common = [f"results_dir={results}", "rerun=true", "output=json"]
    if small:
        common += ["prompt_tokens=6", "new_tokens=3", "warmup=0"]
    times, fewer = ("repeats=3", "prompts=3"), ("repeats=2", "prompts=2")
    if small:
        times = fewer = ("repeats=1", "prompts=1")
    tenants = 2 if small else TENANTS
    steps = ("--repeats", "1", "--steps", "1", "--batch", "2") if small else ("--steps", "3")
    return {
        "table3": [*efficiency, *common, *times, "methods=[none,lora,ia3,pedro]"],
        "compiled": [
            *efficiency,
            *(*common, *times, "beams=[1]", "methods=[none,pedro]", "decoding=[compiled]"),
        ],
        "training": [
            *(sys.executable, str(here / "benchmark_training.py"), "--repeats", "2"),
            *(*steps, *backbone),
        ],
        "tenants": [
            *(*efficiency, *common, *fewer),
            *("beams=[1]", f"tenants=[{tenants}]", "methods=[lora,pedro]"),
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
    """Return the promised ratios, of the parts that finished."""
    made = {}
    rows = {
        part: {(row["method"], row["beams"]): row for row in found.get(part, {}).get("rows", [])}
        for part in ("table3", "compiled")
    }
    for beams in (1, 3):
        if ("pedro", beams) in rows["table3"]:
            made[f"pedro / lora, beams {beams}"] = _ratio(
                rows["table3"]["pedro", beams], rows["table3"]["lora", beams]
            )
    if ("pedro", 1) in rows["compiled"]:
        pedro = rows["compiled"]["pedro", 1]
        made["compiled pedro / compiled bare"] = _ratio(pedro, rows["compiled"]["none", 1])
        made["compiled pedro, share of the bandwidth limit"] = pedro["bandwidth_share"]
    mixed = {
        row["method"]: row
        for row in found.get("tenants", {}).get("rows", [])
        if row["mixed"] and row["tenants"] > 1
    }
    for method in ("pedro", "lora"):
        if method in mixed:
            name = f"{method} / peft's lora, {mixed[method]['tenants']} tenants"
            made[name] = _ratio(mixed[method], mixed["peft_lora"])
    return made


def _ratio(above: dict[str, Any], below: dict[str, Any]) -> float:
    return float(above["tokens_per_second"] / below["tokens_per_second"])


def main() -> None:
    """Run all parts and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default="results")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("backbone", nargs="*", default=list(BACKBONE))
    given = parser.parse_args()
    ends = time.monotonic() + given.seconds
    found = {
        name: run(command, ends - time.monotonic())
        for name, command in parts(given.results, tuple(given.backbone), small=given.small).items()
    }
    found["ratios"] = headline(found)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["ratios"], indent=1))


if __name__ == "__main__":
    main()
