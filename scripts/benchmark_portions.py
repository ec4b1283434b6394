r"""Print what a training step costs by precision and by the positions that one of its passes may hold.

    python scripts/benchmark_portions.py 1024 512 256 --of method=lora task=sst2 backbone=smollm2_135m \
        data=files data.root=DIR trainer=small

`trainer.micro_batch_tokens` cuts an optimiser batch into passes, longest rows first, so that rows of like
length share a pass and less of it is padding; the sum of the losses is the same but for rounding.
`--precision fp32 bf16` takes every limit in both. Forward and backward passes of the same real batches, in
turn within each batch and backwards in every other one; printed is the median over batches of the processor's
time over that of the first, and the positions a step has, padding included, over its tokens.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pedro_bench import distributed
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.batching import portions
from pedro_bench.data.encoding_cache import Limits, encode_cached
from pedro_bench.data.splits import load_splits
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.training.steps import BatchOrder, Passes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("limits", nargs="+", type=int, help="positions a pass may hold")
    parser.add_argument("--of", nargs="+", required=True, help="the configuration, as typed")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=("fp32", "bf16"))
    parser.add_argument("--batches", type=int, default=8, help="measured, after one that is not")
    given = parser.parse_args()
    settings = settings_of(given.of)
    task, trainer = settings.task, settings.trainer
    backbone = settings.backbone.load(device="cpu")
    train = load_splits(task, settings.data)["train"].examples
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(settings.max_tokens, True, 0)
        rows = encode_cached(backbone.tokenizer, train, limits, Path(folder)).encoded
    batch_size = trainer.resolved_batch_size(task.official_rows[0])
    order = BatchOrder(rows, batch_size, 0, group_by_length=False)
    torch.manual_seed(0)
    adapted = AdaptedModel(backbone, settings.method)
    adapted.train()
    whole = Passes(adapted, distributed.accelerator(), "fp32", batch_size, batch_size)
    passes = {
        (limit, precision): replace(whole, micro_batch_tokens=limit, precision=precision)
        for limit in given.limits
        for precision in given.precision
    }
    parameters = list(adapted.adapter.parameters())
    seconds: dict[tuple[int, str], list[float]] = {one: [] for one in passes}
    positions: dict[tuple[int, str], list[float]] = {one: [] for one in passes}
    for number in range(given.batches + 1):
        batch = order.batch(number)
        for one in passes if number % 2 else reversed(passes):
            started = time.process_time()
            passes[one].backward(batch, parameters)
            if number:
                seconds[one].append(time.process_time() - started)
                lengths = [len(row) for row in batch]
                cut = portions(lengths, passes[one].limit(batch_size))
                held = sum(len(own) * max(lengths[row] for row in own) for own in cut)
                positions[one].append(held / sum(lengths))
    first = seconds[given.limits[0], given.precision[0]]
    for one in passes:
        limit, precision = one
        ratios = [own / base for own, base in zip(seconds[one], first, strict=True)]
        shown = {
            "micro_batch_tokens": limit,
            "precision": precision,
            "time": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            "positions a token": round(statistics.mean(positions[one]), 3),
            "seconds a step": round(statistics.mean(seconds[one]), 2),
        }
        print(json.dumps(shown))


if __name__ == "__main__":
    main()
