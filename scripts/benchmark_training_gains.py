"""Print what each single measure of training brings: everything as it is, then one measure left out.

    python scripts/benchmark_training_gains.py        4 layers x 1024, random weights, BoolQ-like lengths

Forward and backward passes of LoRA on the same rows, in turn within each repeat and backwards in every
other one, the median ratio of the time without a measure to that with all of them (on a CPU, of the
process's own processor time, which neighbours on a shared machine disturb less). Each repeat draws rows of
its own, since what grouping saves hangs on the lengths:

- loss on answers only: the head is applied where an answer's token is predicted; without, everywhere
- batches by length: without, rows go together as they come
- causal kernel: right padding needs no mask; without, the mask is built and passed
- frozen weights left alone: without, gradients of all backbone weights are computed as well
- fused optimiser: one kernel for all of AdamW; without, PyTorch's default, which is what the loop uses

What grouping saves in positions, padding included, is counted as well, over 200 batches of each of several
sizes: that needs no model, and no draw of a few rows decides it.

A compiled step is not among them: batches by length have another width nearly every time, and each width
would be compiled anew.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from benchmark_generation import SHAPE, backbone_arguments, show
from benchmark_training_sides import draw_lengths, make_rows
from torch import Tensor

from pedro_bench.cli.hydra.compose import side_by_side
from pedro_bench.data.batching import training_batches
from pedro_bench.efficiency import meter
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import IGNORED, Batch, Encoded, collate
from pedro_bench.protocols.settings import build_group
from pedro_bench.runs.environment import resolve_device


def head_everywhere(adapted: AdaptedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """As `AdaptedModel.answer_logits`, with logits at every position, most of them thrown away."""
    hidden_BTD = adapted._hidden(batch)
    logits_BTV = adapted.backbone.head(hidden_BTD[:, :-1].flatten(0, 1))
    labels_N = batch.labels_BT[:, 1:].flatten()
    is_answer_N = labels_N != IGNORED
    return logits_BTV[is_answer_N], labels_N[is_answer_N]


@contextmanager
def gradients_everywhere(adapted: AdaptedModel) -> Iterator[None]:
    """Let the backbone's weights take part in the backward pass."""
    weights = [one for one in adapted.model.parameters() if not one.requires_grad]
    for one in weights:
        one.requires_grad_(True)
    try:
        yield
    finally:
        for one in weights:
            one.requires_grad_(False)
            one.grad = None


def without(measure: str, adapted: AdaptedModel) -> AbstractContextManager[Any]:
    """Return a block in which one measure is left out."""
    if measure == "loss on answers only":
        return patch.object(AdaptedModel, "answer_logits", head_everywhere)
    if measure == "causal kernel":
        return patch.object(Batch, "is_right_padded", False)
    if measure == "frozen weights left alone":
        return gradients_everywhere(adapted)
    return nullcontext()


MEASURES = (
    "loss on answers only",
    "batches by length",
    "causal kernel",
    "frozen weights left alone",
)


BATCH_SIZES = (4, 16, 128)
COUNTED_BATCHES = 200


def together(lengths: Sequence[int], batch: int, *, by_length: bool) -> list[list[int]]:
    """Return batches of indices into rows: by length, or as they come."""
    if by_length:
        return training_batches(lengths, batch, seed=0, epoch=0, group_by_length=True)
    count = len(lengths)
    return [list(range(at, min(at + batch, count))) for at in range(0, count, batch)]


def positions(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> int:
    """Return the positions that go through the model, padding included."""
    return sum(len(one) * max(lengths[index] for index in one) for one in batches)


def padding_saved(batch: int) -> float:
    """Return the positions of batches as they come over those of batches by length."""
    lengths = draw_lengths(batch * COUNTED_BATCHES, random.Random(0))
    counts = [
        positions(lengths, together(lengths, batch, by_length=by_length))
        for by_length in (False, True)
    ]
    return counts[0] / counts[1]


def passes(adapted: AdaptedModel, rows: Sequence[Encoded], batches: list[list[int]]) -> float:
    """Return the seconds of forward and backward passes over batches of rows."""
    device = adapted.backbone.device
    started = now(device)
    for indices in batches:
        batch = collate([rows[index] for index in indices], 0).to(device)
        loss, num_tokens = adapted(batch)
        (loss / num_tokens).backward()
        for one in adapted.model.parameters():
            one.grad = None
    return now(device) - started


def now(device: torch.device) -> float:
    """Return the processor's seconds on a CPU, elsewhere the clock's after all work is done."""
    return time.process_time() if device.type == "cpu" else meter.now(device)


def optimiser_seconds(adapted: AdaptedModel, steps: int, **options: Any) -> float:
    """Return the seconds of one optimiser step."""
    own = [one for one in adapted.adapter.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(own, lr=1e-4, **options)
    for one in own:
        one.grad = torch.full_like(one, 1e-3)
    optimiser.step()
    started = now(adapted.backbone.device)
    for _ in range(steps):
        optimiser.step()
    return (now(adapted.backbone.device) - started) / steps


def ratios(
    seconds: dict[str, list[float]], of: Callable[[float, float], float]
) -> dict[str, dict[str, float]]:
    """Return median, lowest and highest ratio of each entry to `all measures`, repeat by repeat."""
    made = {}
    for name, found in seconds.items():
        pairs = [of(one, whole) for one, whole in zip(found, seconds["all measures"], strict=True)]
        made[name] = {
            "ratio": statistics.median(pairs),
            "lowest": min(pairs),
            "highest": max(pairs),
        }
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="draws of rows")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("overrides", nargs="*", help="another backbone, such as backbone=llama2_7b")
    given = parser.parse_args()
    config, built = side_by_side("method", ["lora"], given.overrides or backbone_arguments(SHAPE))
    device = resolve_device(config["device"])
    backbone = build_group("backbone", config["backbone"]).load(device=device)
    adapted = AdaptedModel(backbone, build_group("method", built["lora"]))
    adapted.train()
    seconds: dict[str, list[float]] = {"all measures": [], **{name: [] for name in MEASURES}}
    for repeat in range(given.repeats):
        rows = make_rows(given.steps * given.batch, backbone.shape.vocab_size, seed=repeat)
        lengths = [len(row) for row in rows]
        if repeat == 0:
            passes(adapted, rows, together(lengths, given.batch, by_length=True)[:1])
        names = list(seconds)
        for name in names if repeat % 2 == 0 else reversed(names):
            batches = together(lengths, given.batch, by_length=name != "batches by length")
            with without(name, adapted):
                seconds[name].append(passes(adapted, rows, batches))
            show(f"repeat {repeat + 1} of {given.repeats}: {name} {seconds[name][-1]:.2f} s")
    plain = optimiser_seconds(adapted, 10)
    fused = optimiser_seconds(adapted, 10, fused=True)
    whole = statistics.median(seconds["all measures"]) / given.steps
    shown = {
        "device": device,
        "time without / with": ratios(seconds, lambda one, other: one / other),
        "positions as they come / by length": {
            f"batches of {batch}": padding_saved(batch) for batch in BATCH_SIZES
        },
        "optimiser": {
            "share of a step": plain / (whole + plain),
            "time default / fused": plain / fused,
        },
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
