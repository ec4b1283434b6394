"""Print what a run costs beside training and evaluation, and how long finished keys take to skip.

    python scripts/benchmark_overhead.py              a micro run of five seeds; 1,000 finished keys, of
                                                      one configuration and of a grid of 200
    python scripts/benchmark_overhead.py --parts start,skip
    python scripts/benchmark_overhead.py --parts run method=lora task=rte 'seeds=[0,1,2]'

Targets: time outside of training and evaluation under 5% of a micro run; 1,000 finished keys skipped in
under five seconds; `--help` and bad input, without torch, in under two. Printed are seconds by the clock
and of processor time; where the machine is shared, the latter says more.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.grid import plan
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import RunRecord

MICRO = ("method=pedro", "task=boolq")


def run(*arguments: str) -> dict[str, Any]:
    """Run a command; return its output, exit code, and seconds by the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode not in (0, 2):
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return {"out": done.stdout, "seconds": seconds, "processor_seconds": processor}


def start() -> dict[str, Any]:
    """Time `--help` and a refusal."""
    asked = {
        "--help": ("pedro_bench", "--help"),
        "bad input": ("pedro_bench", "method=pedr"),
    }
    return {name: _seconds(run(*arguments)) for name, arguments in asked.items()}


def share_outside(overrides: Sequence[str]) -> dict[str, Any]:
    """Make a run from nothing; return the share of its time that is neither training nor evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        places = (f"results_dir={folder}/results", f"output_dir={folder}/outputs")
        done = run("pedro_bench", *(overrides or MICRO), *places, "workers=1", "output=json")
    made = json.loads(done["out"])["runs"]
    inside = sum(one["timing"]["train_seconds"] + one["timing"]["test_seconds"] for one in made)
    return {
        "seeds": len(made),
        "seconds": done["seconds"],
        "training and evaluation": inside,
        "share outside": 1 - inside / done["seconds"],
    }


def skip(count: int) -> dict[str, Any]:
    """Ask again for the finished seeds of one configuration."""
    seeds = ",".join(map(str, range(count)))
    found, taken = _asked_again([f"seeds=[{seeds}]"], lambda asked: [settings_of(asked)])
    assert len(found["runs"]) == count
    return {"keys": count, **taken}


def skip_grid(count: int) -> dict[str, Any]:
    """The same of a grid: a fifth as many configurations with five seeds each."""
    sizes = ",".join(str(number + 1) for number in range(count // 5))
    found, taken = _asked_again(
        [f"method.r={sizes}"],
        lambda asked: [one.settings for one in sweep_of(asked)],
        "-m",
    )
    assert found["finished"] == len(found["jobs"]) == count // 5
    return {"keys": count, "configurations": count // 5, **taken}


def _asked_again(
    overrides: Sequence[str],
    settings: Callable[[Sequence[str]], Sequence[Settings]],
    *flags: str,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Invent the finished records of some configurations, then ask for all of them again.

    Args:
        overrides: What is asked beside MICRO.
        settings: Overrides -> the configurations that they name.
        flags: Of the command.

    Returns:
        What the command printed, and how long it took.
    """
    with tempfile.TemporaryDirectory() as folder:
        places = (f"results_dir={folder}/results", f"output_dir={folder}/outputs")
        asked = [*MICRO, *overrides, *places, "output=json"]
        for one in settings(asked):
            for seed, path, _ in plan(one):
                _invent(path, seed, Path(folder) / "results")
        done = run("pedro_bench", *flags, *asked)
    return json.loads(done["out"]), _seconds(done)


def _invent(path: Path, seed: int, results: Path) -> None:
    """Write a finished record to the place where a run would have left it."""
    method, task, backbone, key, _ = path.stem.split("--")
    record = RunRecord(
        key=key,
        status="finished",
        method=method,
        task=task,
        backbone=backbone,
        data="micro",
        suite=path.parent.name,
        seed=seed,
        config={},
        main_metric="acc",
        metrics={"dev": {"loss": 0.5}, "test": {"acc": 80.0}},
        started="2026-01-01T00:00:00+00:00",
    )
    assert records.write(record, results) == path
    predictions = records.predictions_path(path)
    predictions.parent.mkdir(exist_ok=True)
    predictions.write_text("", encoding="utf-8")


def _seconds(done: dict[str, Any]) -> dict[str, float]:
    return {name: round(done[name], 2) for name in ("seconds", "processor_seconds")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="start,skip,grid,run", help="which, separated by commas")
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("overrides", nargs="*", help="of the run, in place of PEDRO on BoolQ")
    given = parser.parse_args()
    asked = given.parts.split(",")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "start": start,
        "skip": lambda: skip(given.keys),
        "grid": lambda: skip_grid(given.keys),
        "run": lambda: share_outside(given.overrides),
    }
    if unknown := set(asked) - set(parts):
        parser.error(f"--parts must be of {', '.join(parts)}, got {sorted(unknown)}")
    print(json.dumps({name: parts[name]() for name in asked}, indent=1))


if __name__ == "__main__":
    main()
