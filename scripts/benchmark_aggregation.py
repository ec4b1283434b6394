"""Time the way from records to tables: a hundred thousand invented ones, read into a DataFrame, rendered.

    python scripts/benchmark_aggregation.py --records 100000

The records are written to a temporary folder with a configuration, a history and an environment as real
ones have (about 6 KB each), five seeds a cell, over several suites. Printed are seconds of wall clock and
of this process's processor time.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from pedro_bench import records
from pedro_bench.analysis.frame import results
from pedro_bench.analysis.tables import tables
from pedro_bench.reporting.text import comma_separated, latex, markdown

METHODS, TASKS, SEEDS = 40, 20, 5


def invented(suite: str, method: str, task: str, seed: int) -> dict[str, Any]:
    """Return one record of the size of a real one."""
    trainer = {f"setting_{number}": number / 7 for number in range(24)}
    config = {
        "method": {"name": method, "label": method.upper(), "r": 12, "roles": ["query", "value"]},
        "task": {"name": task, "label": task, "prompt": "{passage}\n{question}" * 8},
        "backbone": {"name": "llama2_7b", "label": "Llama-2 7B", "path": "somewhere/7b"},
        "trainer": trainer,
        "evaluation": {"num_beams": 3, "batch_size": 32, "length_penalty": 1.0},
    }
    key = records.run_key({"suite": suite, "method": method, "task": task})
    history = [
        {"step": step, "epoch": step / 7, "train_loss": 1 / step, "dev_loss": 2 / step, "lr": 1e-4}
        for step in range(200, 6200, 200)
    ]
    score = 80 + (int(key[:6], 16) % 1000) / 100 + seed / 10
    return {
        "schema": records.SCHEMA,
        "key": key,
        "status": "finished",
        "method": method,
        "task": task,
        "backbone": "llama2_7b",
        "data": "hub",
        "suite": suite,
        "seed": seed,
        "config": config,
        "main_metric": "acc",
        "parameters": {"matrices": 8945664, "trainable": 9560448, "total": 6738415616},
        "splits": {name: {"rows": 1000, "fingerprint": f"{task}'s"} for name in ("train", "test")},
        "notes": ["Training ended after 6000 steps, at the last step."],
        "history": history,
        "best_step": 6000,
        "metrics": {"dev": {"loss": 0.3}, "test": {"acc": score, "invalid": 0.0}},
        "predictions": None,
        "timing": {"train_seconds": 3600.0, "tokens_per_second": 9000.0, "test_seconds": 60.0},
        "memory": {"peak_bytes": 40_000_000_000, "of": "gpu"},
        "environment": {"device": "cuda", "commit": "0" * 40, "dirty": False},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "error": None,
    }


def names(count: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield suite, method, task and seed of so many records."""
    suites = -(-count // (METHODS * TASKS * SEEDS))
    grid = product(range(suites), range(METHODS), range(TASKS), range(SEEDS))
    for number, (suite, method, task, seed) in enumerate(grid):
        if number == count:
            return
        yield f"suite{suite}", f"method{method}", f"task{task}", seed


def write_all(folder: Path, count: int) -> int:
    """Write the records; return the bytes of one."""
    size = 0
    for suite, method, task, seed in names(count):
        content = invented(suite, method, task, seed)
        place = {name: content[name] for name in ("method", "task", "backbone", "key", "seed")}
        path = records.record_path(folder, suite, **place)
        if seed == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        size = path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    return size


def main() -> None:
    """Write, then time reading and rendering."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = write_all(Path(folder), options.records)
        print(f"{options.records} records of {size} bytes written")
        wall, processor = time.perf_counter(), time.process_time()
        frame = results(folder)
        read = time.perf_counter() - wall, time.process_time() - processor
        texts = [
            render(table)
            for table in tables(frame)
            for render in (latex, markdown, comma_separated)
        ]
        whole = time.perf_counter() - wall, time.process_time() - processor
    print(f"read into a DataFrame: {read[0]:.1f} s, of this process {read[1]:.1f} s")
    print(
        f"with statistics and {len(texts)} files: {whole[0]:.1f} s, of this process {whole[1]:.1f} s"
    )


if __name__ == "__main__":
    main()
