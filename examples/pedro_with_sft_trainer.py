"""Train PEDRO on prompts and completions with TRL's SFTTrainer; needs the extra `peft` and TRL.

    python examples/pedro_with_sft_trainer.py --model MODEL --data pairs.jsonl --output adapter

Each line of the data is {"prompt": …, "completion": …}: on such data the trainer's loss is on completions
alone, and the method reads from the labels where each prompt ends.
"""

import argparse
from collections.abc import Sequence

import torch
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from pedro_bench.integrations.peft import PedroConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args(arguments)

    trainer = SFTTrainer(
        model=given.model,
        args=SFTConfig(
            output_dir=given.output,
            max_steps=given.steps,
            learning_rate=given.lr,
            per_device_train_batch_size=8,
            bf16=torch.cuda.is_available(),
            logging_steps=10,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=load_dataset("json", data_files=given.data, split="train"),
        peft_config=PedroConfig(r=12, task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model(given.output)


if __name__ == "__main__":
    main()
