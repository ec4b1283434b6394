"""Take every measurement that needs a GPU, in under nine minutes; one JSON file and the records remain.

    pip install -e '.[dev]'                           needs hydra-core and peft beside torch; where the GPU's
                                                      machine reaches no index, add
                                                      --no-index --find-links WHEELS
    python scripts/benchmark_gpu.py                   Llama-2 7B's shape, random weights, bfloat16

1. Table 3: the bare backbone, LoRA, (IA)^3 and PEDRO, one prompt at a time, beams 1 and 3. Targets: PEDRO
   1.29 times LoRA at beam 1 and 1.25 times at beam 3 (the paper's ratios). Its records lie in suite table3,
   which `python -m pedro_bench.cli.tables suite=table3` makes the paper's table of.
2. 64 tenants in one batch, beside peft's mixed batch of LoRA, answers of 8 tokens. Target: 1.5 times.
3. Training beside Hugging Face Trainer + peft, as they come and with batches by length, optimiser steps
   alone. Targets: 1.5 times the speed, 0.7 of the memory.
4. Compiled steps of the bare backbone and of PEDRO at beam 1, one CUDA graph a step. Targets: 85% of the
   measured limit of the memory's bandwidth, 0.98 of the bare backbone. Last, since the compiler's time is the
   least certain.

Each part is a process of its own, which sees one GPU, with a limit in seconds (LIMITS); what one leaves over
goes to those after it. A part that is stopped is named in the result, with what it had measured until then: a
system counts as soon as its turn is over. What ran out of memory is named in its part's notes. The file
is written after every part. Ratios are medians over pairs of repeats, one in each order. `--small` takes all
parts in their smallest form, to see that they run, and `backbone=micro device=cpu` takes them on a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pedro_bench.efficiency.compare import ratio, rows_since
from pedro_bench.efficiency.request import DEFAULTS
from pedro_bench.runs.environment import now

LIMITS = {"table3": 100, "tenants": 190, "training": 110, "compiled": 130}
"""Seconds of each part, its start and the loading of the backbone included."""

SECONDS = sum(LIMITS.values())
TENANTS = 64
STEPS = 12
BACKBONE = ("backbone=llama2_7b", "backbone.random_weights=true", "device=cuda")


def parts(results: str, backbone: tuple[str, ...], *, small: bool = False) -> dict[str, list[str]]:
    """Return name -> command, in the order of LIMITS."""
    here = Path(__file__).parent
    efficiency = [sys.executable, "-m", "pedro_bench.cli.efficiency", *backbone]
    common = [f"results_dir={results}", "rerun=true", "output=json"]
    if small:
        common += ["prompt_tokens=6", "new_tokens=3"]
    times = ("prompts=1", "repeats=1" if small else "repeats=4")
    tenants = 2 if small else TENANTS
    steps = "--repeats 1 --steps 2 --batch 2" if small else f"--repeats 2 --steps {STEPS}"
    table3 = [] if small else ["suite=table3"]  # the table is no place for a trial
    return {
        "table3": [*efficiency, *common, *times, "methods=[none,lora,ia3,pedro]", *table3],
        "tenants": [  # with answers of 32 tokens at 7B peft's mixed batch took more than 171 s
            *(*efficiency, *common, "prompts=1", "repeats=1"),
            *(() if small else ("new_tokens=8",)),
            *("beams=[1]", f"tenants=[{tenants}]", "methods=[lora,pedro]"),
        ],
        "training": [
            *(sys.executable, str(here / "benchmark_training.py"), *steps.split()),
            *("--out", str(training_file(results)), *backbone),
        ],
        "compiled": [
            *efficiency,
            *(*common, *times, "beams=[1]", "methods=[none,pedro]", "decoding=[compiled]"),
        ],
    }


def training_file(results: str) -> Path:
    """Return where the part on training leaves each repeat that it has finished."""
    return Path(results) / "gpu_training.json"


def run(command: list[str], seconds: float) -> dict[str, Any]:
    """Run one part; return what it printed, or why there is nothing."""
    if seconds <= 0:
        return {"stopped": "no time was left"}
    # With several GPUs the peer would spread each batch over all of them.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds,
            check=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": first},
        )
    except subprocess.TimeoutExpired:
        return {"stopped": f"it took longer than the {seconds:.0f} seconds that were left"}
    except subprocess.CalledProcessError as error:
        return {"stopped": f"it ended with exit code {error.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_all(
    commands: dict[str, list[str]], results: str, out: Path, seconds: float
) -> dict[str, Any]:
    """Run all parts one after the other, each until its limit and what is left over before it.

    Args:
        commands: Name -> command, each with its limit in LIMITS.
        results: Root of the records, where a part that was stopped has left its finished turns.
        out: File that is written after every part.
        seconds: Time for all; the limits are scaled to it.

    Returns:
        Name -> what the part printed, or `stopped` and what it had measured; and all `ratios`.
    """
    found: dict[str, Any] = {}
    shown = found
    ends = time.monotonic()
    training_file(results).unlink(missing_ok=True)
    for name, command in commands.items():
        ends += LIMITS[name] * seconds / SECONDS
        started = now()
        part = run(command, ends - time.monotonic())
        if "stopped" in part:
            part["rows"] = rows_since(results, _suite(command), started)
            if name == "training" and training_file(results).exists():
                part |= json.loads(training_file(results).read_text(encoding="utf-8"))
        found[name] = part
        shown = {**found, "ratios": headline(found)}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    return shown


def _suite(command: list[str]) -> str:
    """Return the folder that a part's records go to."""
    own = (word.partition("=")[2] for word in command if word.startswith("suite="))
    return next(own, str(DEFAULTS["suite"]))


def headline(found: dict[str, Any]) -> dict[str, float]:
    """Return the promised ratios of rows that are there both."""
    made: dict[str, float] = {}
    rows = {
        part: {(row["method"], row["beams"]): row for row in found.get(part, {}).get("rows", [])}
        for part in ("table3", "compiled")
    }
    table3, compiled = rows["table3"], rows["compiled"]
    for beams in (1, 3):
        name = f"pedro / lora, beams {beams}"
        _add_ratio(made, name, table3.get(("pedro", beams)), table3.get(("lora", beams)))
    mixed = {
        row["method"]: row
        for row in found.get("tenants", {}).get("rows", [])
        if row["mixed"] and row["tenants"] > 1
    }
    for method in ("pedro", "lora"):
        if method in mixed:
            name = f"{method} / peft's lora, {mixed[method]['tenants']} tenants"
            _add_ratio(made, name, mixed[method], mixed.get("peft_lora"))
    for name, one in found.get("training", {}).get("trained", {}).items():
        for peer, than in one["against"].items():
            made[f"training, {name} / {peer}: speed"] = than["speed"]
            made[f"training, {name} / {peer}: memory"] = than["memory"]
    pedro = compiled.get(("pedro", 1))
    _add_ratio(made, "compiled pedro / compiled bare", pedro, compiled.get(("none", 1)))
    if pedro is not None:
        made["compiled pedro, share of the bandwidth limit"] = pedro["bandwidth_share"]
    return made


def _add_ratio(
    made: dict[str, float],
    name: str,
    above: dict[str, Any] | None,
    below: dict[str, Any] | None,
) -> None:
    """Add the median of the ratios within repeats, where both rows have one repeat at least."""
    if above is not None and below is not None:
        found = ratio(above, below)
        if found is not None:
            made[name] = found["ratio"]


def main() -> None:
    """Run all parts and write what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", default="results")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for all parts")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("backbone", nargs="*", default=list(BACKBONE))
    given = parser.parse_args()
    commands = parts(given.results, tuple(given.backbone), small=given.small)
    found = run_all(commands, given.results, given.out, given.seconds)
    print(json.dumps(found["ratios"], indent=1))


if __name__ == "__main__":
    main()
