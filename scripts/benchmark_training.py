"""Print how fast LoRA trains here and under Hugging Face Trainer + peft: one run, same model and rows.

    python scripts/benchmark_training.py              4 layers x 1024, random weights, BoolQ-like lengths

Both see every row once, in batches of the same size, with AdamW, the same rate and schedule, and take
turns. Rows are random tokens with BoolQ's lengths (prompts of about 150 tokens, an answer and its end), so
the loss can only fall to what the answers' two tokens let it; it is printed for both. Time and memory are
those of the optimiser steps alone, on both sides from the first forward pass to the end of the last step,
making batches included: building a loop, the dev loss, and saving and loading the best adapter, which the
peer does not do here, are not timed. PEDRO cannot be expressed with peft, so it stands against LoRA under
the peer as well, with one optimiser step a batch (method.bilevel=none), as LoRA has.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmark_generation import SHAPE, backbone_arguments

from pedro_bench.cli.compose import side_by_side
from pedro_bench.efficiency import meter
from pedro_bench.efficiency.workload import spread
from pedro_bench.experiment.identity import resolve_device
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import IGNORED, Encoded
from pedro_bench.protocols.settings import build_group
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.trainer import train

_PROMPT_TOKENS = 150
_ANSWERS = ((5,), (6,))
_END = 2
_LR = 1e-3


@dataclass(frozen=True)
class Measured:
    """One training: the seconds and the highest memory in bytes of its steps, and the loss afterwards."""

    seconds: float
    peak_bytes: int
    loss: float


class Ticking:
    """A tracker that tells a clock of every optimiser step, and keeps nothing."""

    def __init__(self, clock: meter.StepsClock) -> None:
        self._clock = clock

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take that a step is done."""
        if "train/loss" in values:
            self._clock.step(step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing is open."""


def make_rows(count: int, vocab_size: int, seed: int) -> list[Encoded]:
    """Draw rows with BoolQ's lengths."""
    stream = random.Random(seed)
    return [
        Encoded(
            tuple(stream.randrange(10, vocab_size) for _ in range(length)),
            (*stream.choice(_ANSWERS), _END),
            index,
        )
        for index, length in enumerate(spread(count, _PROMPT_TOKENS, stream))
    ]


def ours(backbone: LoadedBackbone, method: Any, rows: Sequence[Encoded], batch: int) -> Measured:
    """Train with this project's loop."""
    config = TrainerConfig(
        lr=_LR,
        batch_size=batch,
        num_epochs=1,
        eval_every_steps=len(rows),
        max_length=2048,
        group_by_length=True,
        micro_batch_tokens=None,
        checkpoint_every_steps=None,
    )
    torch.manual_seed(0)
    adapted = AdaptedModel(backbone, method)
    clock = _clock(backbone, rows, batch)
    with tempfile.TemporaryDirectory() as folder:
        train(
            adapted,
            train=rows,
            dev=rows[:1],
            config=config,
            official_train_rows=len(rows),
            seed=0,
            key="0" * 12,
            folder=Path(folder),
            tracker=Ticking(clock),
        )
    adapted.eval()
    loss = _loss(adapted.backbone.model, rows[:batch], adapted)
    adapted.remove()
    return _measured(clock, loss)


def theirs(backbone: LoadedBackbone, method: Any, rows: Sequence[Encoded], batch: int) -> Measured:
    """Train with Hugging Face Trainer + peft."""
    import peft
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class TickingCallback(TrainerCallback):  # type: ignore[misc]  # Any to the checker
        """Tells the clock of every optimiser step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            """Take that a step is done."""
            clock.step(state.global_step)

    paths = {site.path.rpartition(".")[2] for role in method.roles for site in backbone.sites(role)}
    config = peft.LoraConfig(
        r=method.r, lora_alpha=method.alpha, target_modules=sorted(paths), task_type="CAUSAL_LM"
    )
    torch.manual_seed(0)
    model = peft.get_peft_model(backbone.model, config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=_LR,
            lr_scheduler_type="linear",
            warmup_steps=max(1, round(0.06 * len(rows) / batch)),
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            bf16=backbone.device.type == "cuda",
            use_cpu=backbone.device.type == "cpu",
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=list(rows), data_collator=_padded
        )
        trainer.remove_callback(PrinterCallback)  # standard output holds the result alone
        trainer.add_callback(TickingCallback)
        clock = _clock(backbone, rows, batch)
        trainer.train()
    model.eval()
    loss = _loss(model, rows[:batch], None)
    model.unload()
    for name in ("peft_config", "_hf_peft_config_loaded"):
        backbone.model.__dict__.pop(name, None)
    backbone.model.requires_grad_(False)
    backbone.model.eval()
    return _measured(clock, loss)


def _clock(backbone: LoadedBackbone, rows: Sequence[Encoded], batch: int) -> meter.StepsClock:
    return meter.StepsClock(backbone.decoder, backbone.device, -(-len(rows) // batch))


def _measured(clock: meter.StepsClock, loss: float) -> Measured:
    assert clock.seconds is not None  # every training above takes all of its steps
    assert clock.peak_bytes is not None
    return Measured(clock.seconds, clock.peak_bytes, loss)


def _padded(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Pad a batch on the right, loss on the answers alone, as examples for Trainer do."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor((*row.prompt_ids, *row.answer_ids))
        mask[place, : len(row)] = 1
        labels[place, len(row.prompt_ids) : len(row)] = torch.tensor(row.answer_ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def _loss(model: Any, rows: Sequence[Encoded], adapted: AdaptedModel | None) -> float:
    """Return the mean loss over the answers' tokens."""
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in _padded(rows).items()}
    if adapted is None:
        return float(model(**batch).loss)
    is_real = batch["attention_mask"].bool()
    with adapted.context(is_real & (batch["labels"] == IGNORED)).active():
        return float(model(**batch).loss)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("overrides", nargs="*", help="another backbone, such as backbone=llama2_7b")
    given = parser.parse_args()
    chosen = given.overrides or backbone_arguments(SHAPE)
    config, built = side_by_side("method", ["lora", "pedro"], chosen)
    lora, pedro = (build_group("method", built[name]) for name in ("lora", "pedro"))
    pedro = replace(pedro, bilevel="none")
    device = resolve_device(config["device"])
    backbone = build_group("backbone", config["backbone"]).load(device=device)
    rows = make_rows(given.steps * given.batch, backbone.shape.vocab_size, seed=0)
    tokens = sum(len(row) for row in rows)
    theirs(backbone, lora, rows[: given.batch], given.batch)  # what starts up once is not counted
    ours(backbone, lora, rows[: given.batch], given.batch)
    taken: dict[str, list[Measured]] = {"lora, peer": [], "lora": [], "pedro": []}
    for _ in range(given.repeats):
        taken["lora, peer"].append(theirs(backbone, lora, rows, given.batch))
        taken["lora"].append(ours(backbone, lora, rows, given.batch))
        taken["pedro"].append(ours(backbone, pedro, rows, given.batch))
    shown = {}
    for name, found in taken.items():
        pairs = list(zip(found, taken["lora, peer"], strict=True))
        speeds = [b.seconds / a.seconds for a, b in pairs]
        shown[name] = {
            "tokens_per_second": tokens / statistics.median(one.seconds for one in found),
            "times the peer's speed": statistics.median(speeds),
            "lowest": min(speeds),
            "highest": max(speeds),
            "of the peer's memory": statistics.median(
                a.peak_bytes / b.peak_bytes for a, b in pairs
            ),
            "loss": statistics.median(one.loss for one in found),
        }
    print(json.dumps({"device": device, "tokens": tokens, "trained": shown}, indent=1))


if __name__ == "__main__":
    main()
