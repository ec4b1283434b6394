"""The two sides of the training benchmark: this project's loop, and Hugging Face Trainer + peft.

Each trains one adapter on the same rows, takes the time and the memory of its optimiser steps alone, and
leaves the backbone as it was. `benchmark_training.py` lets them take turns.
"""

import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pedro_bench.efficiency import meter
from pedro_bench.efficiency.request import spread
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import IGNORED, Encoded
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.tracking import Tracker
from pedro_bench.training.trainer import train

_PROMPT_TOKENS = 150
_ANSWERS = ((5,), (6,))
_END = 2
_LR = 1e-3
_WINDOW_BATCHES = 50
"""Within so many batches Trainer sorts a data set of 200 batches and more, and ours any; of fewer Trainer
would sort within a quarter of them, which says something of this benchmark's size and nothing of Trainer."""


@dataclass(frozen=True)
class Measured:
    """One training: the seconds and the highest memory in bytes of its steps, and the loss around them."""

    seconds: float
    peak_bytes: int
    loss_before: float
    loss: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, loss {self.loss:.3f}"


class Ticking(Tracker):
    """A tracker that tells a clock of every optimiser step, and keeps nothing."""

    def __init__(self, clock: meter.StepsClock) -> None:
        self._clock = clock

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take that a step is done."""
        if "train/loss" in values:
            self._clock.step(step)


def draw_lengths(count: int, stream: random.Random) -> list[int]:
    """Draw lengths of rows, prompts with their answers, as BoolQ's are."""
    return [length + 2 for length in spread(count, _PROMPT_TOKENS, stream)]


def make_rows(count: int, vocab_size: int, seed: int) -> list[Encoded]:
    """Draw rows with BoolQ's lengths."""
    stream = random.Random(seed)
    return [
        Encoded(
            tuple(stream.randrange(10, vocab_size) for _ in range(length - 2)),
            (*stream.choice(_ANSWERS), _END),
            index,
        )
        for index, length in enumerate(draw_lengths(count, stream))
    ]


def ours(
    backbone: LoadedBackbone, method: Any, rows: Sequence[Encoded], batch: int, seed: int
) -> Measured:
    """Train with this project's loop; `seed` decides the adapter's start and the rows' order."""
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
    torch.manual_seed(seed)
    adapted = AdaptedModel(backbone, method)
    adapted.eval()
    before = _loss(adapted.backbone.model, rows[:batch], adapted)
    clock = _clock(backbone, rows, batch)
    with tempfile.TemporaryDirectory() as folder:
        train(
            adapted,
            train=rows,
            dev=rows[:1],
            config=config,
            official_train_rows=len(rows),
            seed=seed,
            key="0" * 12,
            folder=Path(folder),
            tracker=Ticking(clock),
        )
    adapted.eval()
    loss = _loss(adapted.backbone.model, rows[:batch], adapted)
    adapted.remove()
    return _measured(clock, before, loss)


def theirs(
    backbone: LoadedBackbone,
    method: Any,
    rows: Sequence[Encoded],
    batch: int,
    seed: int,
    *,
    by_length: bool = False,
) -> Measured:
    """Train with Hugging Face Trainer + peft; `by_length`: rows of like length together."""
    import peft
    from accelerate.state import AcceleratorState
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
    torch.manual_seed(seed)
    model = peft.get_peft_model(backbone.model, config)
    model.eval()
    before = _loss(model, rows[:batch], None)
    with tempfile.TemporaryDirectory() as folder, _whole_window():
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=_LR,
            lr_scheduler_type="linear",
            warmup_steps=max(1, round(0.06 * len(rows) / batch)),
            weight_decay=0.0,
            seed=seed,
            train_sampling_strategy="group_by_length" if by_length else "random",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            bf16=backbone.device.type == "cuda",
            use_cpu=backbone.device.type == "cpu",
        )
        # What groups by length asks each row for its token ids.
        items = [{"input_ids": (*row.prompt_ids, *row.answer_ids), "row": row} for row in rows]
        trainer = Trainer(model=model, args=arguments, train_dataset=items, data_collator=_collated)
        trainer.remove_callback(PrinterCallback)  # standard output holds the result alone
        trainer.add_callback(TickingCallback)
        clock = _clock(backbone, rows, batch)
        trainer.train()
    # Trainer's precision would otherwise hold for every later training of this process.
    AcceleratorState._reset_state(reset_partial_state=True)
    model.eval()
    loss = _loss(model, rows[:batch], None)
    model.unload()
    for name in ("peft_config", "_hf_peft_config_loaded"):
        backbone.model.__dict__.pop(name, None)
    backbone.model.requires_grad_(False)
    backbone.model.eval()
    return _measured(clock, before, loss)


def _whole_window() -> AbstractContextManager[Any]:
    """Let Trainer sort by length as it does on a data set of 200 batches and more."""
    from transformers import trainer_pt_utils

    plain = trainer_pt_utils.get_length_grouped_indices
    name = "get_length_grouped_indices"
    return patch.object(trainer_pt_utils, name, partial(plain, mega_batch_mult=_WINDOW_BATCHES))


def _clock(backbone: LoadedBackbone, rows: Sequence[Encoded], batch: int) -> meter.StepsClock:
    return meter.StepsClock(backbone.decoder, backbone.device, -(-len(rows) // batch))


def _measured(clock: meter.StepsClock, loss_before: float, loss: float) -> Measured:
    assert clock.seconds is not None  # every training above takes all of its steps
    assert clock.peak_bytes is not None
    return Measured(clock.seconds, clock.peak_bytes, loss_before, loss)


def _collated(items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    return _padded([item["row"] for item in items])


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
