"""Measure how fast a task's files are loaded, split and encoded, and how much memory that takes.

    python scripts/loading_benchmark.py speed --root DIR    SST-2, first time and from the cache
    python scripts/loading_benchmark.py memory              100,000 made rows of 2,000 characters

Each measurement runs in a process of its own. Seconds are given as wall clock and as CPU time of the
process, since the first says little on a machine that does other things too.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.encoding_cache import Limits, encode_cached
from pedro_bench.data.splits import load_splits

ROWS, CHARACTERS = 100_000, 2_000


def measure(task: str, root: str, cache: str) -> dict[str, float]:
    """Load, split and encode one task in this process; the clocks start after the tokenizer."""
    settings = settings_of([f"task={task}", "data=files", f"data.root={root}"])
    tokenizer = settings.backbone.load_tokenizer()
    wall, cpu = time.perf_counter(), time.process_time()
    splits = load_splits(settings.task, settings.data)
    rows = tokens = 0
    for name in ("train", "dev", "test"):
        limits = Limits(2048, name != "test")
        encoded = encode_cached(tokenizer, splits[name].examples, limits, Path(cache)).encoded
        rows += len(encoded)
        tokens += sum(map(len, encoded[:100])) * len(encoded) // len(encoded[:100])
    return {
        "rows": rows,
        "tokens_a_row": round(tokens / rows),
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def alone(task: str, root: str, cache: str) -> str:
    """Run `measure` in a fresh process and return its line."""
    command = [sys.executable, __file__, "one", "--task", task, "--root", root, "--cache", cache]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def known_words() -> list[str]:
    """Return words of the micro world, which its tokenizer knows as a real one knows English."""
    settings = settings_of(["task=squad", "data=micro"])
    examples = load_splits(settings.task, settings.data).train.examples[:200]
    return sorted({word for one in examples for word in one.prompt.split()})


def write_rows(root: Path) -> None:
    """Write rows of the form of SQuAD, each of CHARACTERS characters."""
    chance = random.Random(0)
    words = known_words()
    folder = root / "squad"
    folder.mkdir(parents=True)
    for name, number in (("train", ROWS - 10_000), ("validation", 10_000)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for row in range(number):
                text = " ".join(chance.choices(words, k=CHARACTERS // 2))[: CHARACTERS - 8]
                context = f"{row:07d} {text}"
                answer = context[500:520].strip()
                line = {"context": context, "question": f"What is {row}?", "answers": [answer]}
                stream.write(json.dumps(line) + "\n")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure loading.")
    parser.add_argument("what", choices=["speed", "memory", "one"])
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--root", default="")
    parser.add_argument("--cache", default="")
    options = parser.parse_args()
    if options.what == "one":
        print(json.dumps(measure(options.task, options.root, options.cache)))
        return
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        if options.what == "memory":
            write_rows(Path(folder))
            print("first:     ", alone("squad", folder, cache))
            return
        print("first:     ", alone(options.task, options.root, cache))
        print("from cache:", alone(options.task, options.root, cache))


if __name__ == "__main__":
    main()
