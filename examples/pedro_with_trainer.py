"""Train PEDRO on prompts and completions with transformers.Trainer; needs the extra `peft`.

    python examples/pedro_with_trainer.py --model MODEL --data pairs.jsonl --output adapter

Each line of the data is {"prompt": …, "completion": …}. Labels are -100 over the prompt: that is how the
method knows where it ends. With `--bilevel` the coefficients of its activation are trained on a tenth of the
data.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import peft
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from pedro_bench.integrations.bilevel import BilevelCallback
from pedro_bench.integrations.peft import PedroConfig


def encode(tokenizer, prompt, completion):
    """Return ids and labels of one example."""
    first = tokenizer(prompt)["input_ids"]
    second = tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    ids = first + second
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [-100] * len(first) + second,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, and say how many parameters were trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--bilevel", action="store_true")
    given = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    lines = Path(given.data).read_text(encoding="utf-8").splitlines()
    rows = [encode(tokenizer, **json.loads(line)) for line in lines]
    collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
    callbacks = []
    if given.bilevel:
        held_out = rows[: max(1, len(rows) // 10)]
        rows = rows[len(held_out) :]
        callbacks = [BilevelCallback(DataLoader(held_out, 8, shuffle=True, collate_fn=collator))]

    model = AutoModelForCausalLM.from_pretrained(given.model)
    model = peft.get_peft_model(model, PedroConfig(r=12, task_type="CAUSAL_LM"))
    model.print_trainable_parameters()
    settings = TrainingArguments(
        output_dir=given.output,
        max_steps=given.steps,
        learning_rate=given.lr,
        per_device_train_batch_size=8,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
    )
    Trainer(
        model, settings, train_dataset=rows, data_collator=collator, callbacks=callbacks
    ).train()
    model.save_pretrained(given.output)


if __name__ == "__main__":
    main()
