"""Print how fast LoRA trains here and under Hugging Face Trainer + peft: one run, same model and rows.

    python scripts/benchmark_training.py              4 layers x 1024, random weights, BoolQ-like lengths

Both see every row once, in batches of the same size, with AdamW, the same rate and schedule. Ours puts rows
of like length together (trainer.group_by_length); the peer is measured twice, as it comes and with its own
`train_sampling_strategy="group_by_length"`, whose window is that of a data set of 200 batches and more, as
ours. They take turns, every other repeat backwards. Rows are random tokens with BoolQ's lengths (prompts of
about 150 tokens, an answer and its end), so the loss can only fall to what the answers' two tokens let it; it
is printed before and after, on the same rows. The first step has rate 0 on both sides. Each repeat is another
seed on all sides, which decides the adapters' starts and the rows' order, each side's own: one seed's losses
differ by that, and those of several together say whether the sides learn alike.

Time and memory are those of the optimiser steps alone, on both sides from the first forward pass to the end
of the last step, making batches included: building a loop, the dev loss, and saving and loading the best
adapter, which the peer does not do here, are not timed. PEDRO cannot be expressed with peft, so it stands
against LoRA under the peer as well, with one optimiser step a batch (method.bilevel=none), as LoRA has.
"""

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmark_generation import SHAPE, backbone_arguments, show
from benchmark_training_sides import Measured, make_rows, ours, theirs

from pedro_bench.cli.hydra.compose import side_by_side
from pedro_bench.efficiency.recording import environment
from pedro_bench.protocols.settings import build_group
from pedro_bench.runs.environment import resolve_device

PEERS = {"lora, peer": False, "lora, peer by length": True}
"""Name -> whether rows of like length go together."""


def check_one_gpu(device: str) -> None:
    """Refuse several GPUs: Trainer would give each of them a batch.

    Raises:
        SystemExit: If there are.
    """
    count = torch.cuda.device_count() if device.startswith("cuda") else 1
    if count > 1:
        raise SystemExit(
            f"one GPU must be visible, got {count}, over which the peer would spread its batches: set "
            "CUDA_VISIBLE_DEVICES=0."
        )


def in_turns(sides: Mapping[str, Callable[..., Measured]], repeat: int) -> dict[str, Measured]:
    """Train each side once, its seed the repeat, in the opposite order in every other repeat."""
    taken = {}
    names = list(sides)
    for name in names if repeat % 2 == 0 else reversed(names):
        gc.collect()
        taken[name] = sides[name](seed=repeat)
        show(f"repeat {repeat + 1}: {name} {taken[name]}")
    return taken


def summary(taken: Sequence[Mapping[str, Measured]], tokens: int) -> dict[str, Any]:
    """Return each side's medians, and ours against either peer.

    Args:
        taken: For each repeat, name -> training.
        tokens: Of all rows.
    """

    def middle(of: Callable[[Mapping[str, Measured]], float]) -> float:
        return statistics.median(of(one) for one in taken)

    def against(name: str, peer: str) -> dict[str, float]:
        speeds = [one[peer].seconds / one[name].seconds for one in taken]
        return {
            "speed": statistics.median(speeds),
            "lowest": min(speeds),
            "highest": max(speeds),
            "memory": middle(lambda one: one[name].peak_bytes / one[peer].peak_bytes),
        }

    def side(name: str) -> dict[str, Any]:
        return {
            "tokens_per_second": tokens / middle(lambda one: one[name].seconds),
            "peak_bytes": middle(lambda one: one[name].peak_bytes),
            "loss before": middle(lambda one: one[name].loss_before),
            "loss after": middle(lambda one: one[name].loss),
            "losses after": [one[name].loss for one in taken],
            "against": {} if name in PEERS else {peer: against(name, peer) for peer in PEERS},
        }

    return {name: side(name) for name in taken[0]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12, help="the first has rate 0")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, help="file that is written after every repeat")
    parser.add_argument("overrides", nargs="*", help="another backbone, such as backbone=llama2_7b")
    given = parser.parse_args()
    chosen = given.overrides or backbone_arguments(SHAPE)
    config, built = side_by_side("method", ["lora", "pedro"], chosen)
    lora, pedro = (build_group("method", built[name]) for name in ("lora", "pedro"))
    pedro = replace(pedro, bilevel="none")
    device = resolve_device(config["device"])
    check_one_gpu(device)
    backbone = build_group("backbone", config["backbone"]).load(device=device)
    rows = make_rows(given.steps * given.batch, backbone.shape.vocab_size, seed=0)
    sides: dict[str, Callable[..., Measured]] = {
        name: partial(theirs, backbone, lora, rows, given.batch, by_length=by_length)
        for name, by_length in PEERS.items()
    }
    sides["lora"] = partial(ours, backbone, lora, rows, given.batch)
    sides["pedro"] = partial(ours, backbone, pedro, rows, given.batch)
    theirs(
        backbone, lora, rows[: given.batch], given.batch, 0
    )  # what starts up once is not counted
    ours(backbone, lora, rows[: given.batch], given.batch, 0)
    taken: list[Mapping[str, Measured]] = []
    shown: dict[str, Any] = {"device": environment(device)["device_name"]}
    shown |= {"steps": given.steps, "tokens": sum(len(row) for row in rows)}
    for repeat in range(given.repeats):
        taken.append(in_turns(sides, repeat))
        shown["trained"] = summary(taken, shown["tokens"])
        if given.out is not None:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
