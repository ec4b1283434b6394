"""transformers.Trainer and TRL's SFTTrainer train PEDRO; a callback trains it on two levels."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from pedro_bench.errors import ConfigError
from pedro_bench.integrations.bilevel import BilevelCallback
from pedro_bench.integrations.peft import PedroConfig, architecture_parameters
from tests.tiny import REPOSITORY
from tests.unit.integrations.peft_types import config_of, model_of, move

PAIRS = [
    {"prompt": "where is the cat", "completion": " on the mat"},
    {"prompt": "where is Ben", "completion": " in Oslo"},
    {"prompt": "who likes the film", "completion": " Ana"},
    {"prompt": "what is blue", "completion": " the box"},
    {"prompt": "is the film good", "completion": " yes"},
    {"prompt": "is the film very bad", "completion": " no"},
    {"prompt": "who lives in Rome", "completion": " Ana"},
    {"prompt": "what was red", "completion": " the box"},
]

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*pin_memory.*:UserWarning"
)


def example(name: str) -> Any:
    path = REPOSITORY / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path


def loss_of(folder: Path, adapter: Path | None) -> float:
    """The mean loss over completions, with an adapter or without."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), model_of(folder)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    encode = example("pedro_with_trainer").encode
    rows = [encode(tokenizer, **pair) for pair in PAIRS]
    batch = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)(rows)
    with torch.no_grad():
        return float(model(**batch).loss)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("pedro_with_trainer", []),
        ("pedro_with_trainer", ["--bilevel"]),
        ("pedro_with_sft_trainer", []),
    ],
)
def test_the_examples_train(
    name: str, more: list[str], data: Path, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    folder, output = tiny_folders["llama"], tmp_path / "adapter"
    arguments = ["--model", str(folder), "--data", str(data), "--output", str(output)]
    example(name).main([*arguments, "--steps", "30", "--lr", "0.02", *more])
    assert loss_of(folder, output) < loss_of(folder, None) - 1
    moved = load_file(output / "adapter_model.safetensors")
    assert {key.split(".")[3] for key in moved} == {"pedro_adapter"}
    start = peft.get_peft_model(model_of(folder), PedroConfig(r=12)).base_model.layer
    coefficients = [key for key in moved if key.endswith("activation.numerator")]
    assert len(coefficients) == 2
    fresh = start.adapters["default"].layers.get_submodule("0.generator.activation").numerator
    assert all(not torch.allclose(moved[key], fresh) for key in coefficients)


def test_the_sft_trainer_sees_the_prompts_and_a_model_that_is_there(
    data: Path, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    """Its losses are those of a plain loop over the same batches; text without prompts is refused."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from pedro_bench.errors import ContextError

    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of("PEDRO"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_folders["llama"])
    settings: dict[str, Any] = {
        "output_dir": str(tmp_path),
        "max_steps": 3,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "gradient_checkpointing": True,
        "bf16": False,
        "max_grad_norm": 1.0,
    }
    second = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of("PEDRO"))
    second.load_state_dict(wrapped.state_dict())
    trainer = SFTTrainer(
        wrapped,
        SFTConfig(**settings),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert bool((batch["labels"][:, 0] == -100).all()) and bool((batch["labels"] != -100).any())
    trainer.train()
    found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    parameters = [one for one in second.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.0)
    expected = []
    for _ in range(3):
        loss = second(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        expected.append(float(loss.detach()))
    assert found == pytest.approx(expected, abs=1e-3)
    assert found[-1] < found[0]
    plain = SFTTrainer(
        second,
        SFTConfig(**settings),
        train_dataset=Dataset.from_list([{"text": "the cat sat on the mat"}] * 8),
        processing_class=tokenizer,
    )
    with pytest.raises(ContextError, match="a row that has no prompt"):
        plain.train()


def rows_of(folder: Path) -> tuple[list[Any], Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encode = example("pedro_with_trainer").encode
    rows = [encode(tokenizer, **pair) for pair in PAIRS]
    return rows, DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)


def test_bilevel_training_takes_turns(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    """Equal to a plain loop: Theta by validation batches, then Omega by training batches."""
    folder = tiny_folders["llama"]
    rows, collator = rows_of(folder)
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model_of(folder), config_of("PEDRO"))
    second = peft.get_peft_model(model_of(folder), config_of("PEDRO"))
    move(wrapped.base_model.layer.parameters(), by=0.1)
    second.load_state_dict(wrapped.state_dict())
    validation = DataLoader(rows[:4], 4, collate_fn=collator)
    settings = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        per_device_train_batch_size=4,
        save_strategy="no",
        report_to="none",
    )
    Trainer(
        wrapped,
        settings,
        train_dataset=rows[4:],
        data_collator=collator,
        callbacks=[BilevelCallback(validation)],
    ).train()
    theta = architecture_parameters(second)
    known = {id(one) for one in theta}
    omega = [one for one in second.parameters() if one.requires_grad and id(one) not in known]
    levels = [
        (theta, collator(rows[:4]), torch.optim.AdamW(theta, lr=0.01, weight_decay=0.0)),
        (omega, collator(rows[4:]), torch.optim.AdamW(omega, lr=0.01, weight_decay=0.0)),
    ]
    for _ in range(4):
        for parameters, batch, optimiser in levels:
            gradients = torch.autograd.grad(second(**batch).loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
    own = dict(wrapped.base_model.layer.named_parameters())
    for name, parameter in second.base_model.layer.named_parameters():
        torch.testing.assert_close(own[name], parameter, rtol=1e-3, atol=1e-4)
        assert own[name].requires_grad


def test_bilevel_training_is_resumed_with_the_same_numbers(
    tmp_path: Path, tiny_folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_folders["llama"]
    rows, collator = rows_of(folder)

    def trained(output: Path, resumed: str | None = None) -> dict[str, Any]:
        torch.manual_seed(0)
        wrapped = peft.get_peft_model(model_of(folder), config_of("PEDRO"))
        move(wrapped.base_model.layer.parameters(), by=0.1)
        settings = TrainingArguments(
            output_dir=str(output),
            max_steps=4,
            learning_rate=0.01,
            per_device_train_batch_size=2,
            save_steps=3,
            report_to="none",
        )
        validation = DataLoader(rows[:4], 2, collate_fn=collator)
        callbacks = [BilevelCallback(validation)]
        Trainer(
            wrapped, settings, train_dataset=rows, data_collator=collator, callbacks=callbacks
        ).train(resume_from_checkpoint=resumed)
        return {name: one.detach() for name, one in wrapped.base_model.layer.named_parameters()}

    whole = trained(tmp_path)
    checkpoint = tmp_path / "checkpoint-3"
    again = trained(tmp_path, str(checkpoint))
    for name, parameter in whole.items():
        torch.testing.assert_close(again[name], parameter, rtol=0, atol=0, msg=name)
    assert "begin anew" not in caplog.text
    (checkpoint / "bilevel.safetensors").unlink()
    other = trained(tmp_path, str(checkpoint))
    assert any(not torch.equal(other[name], one) for name, one in whole.items())
    assert "bilevel.safetensors: the architecture's AdamW and its batches begin anew" in caplog.text


def test_what_bilevel_training_needs(
    tmp_path: Path, tiny_folders: dict[str, Path], make_batch: Callable[..., Any]
) -> None:
    rows, collator = rows_of(tiny_folders["llama"])
    settings = TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to="none")
    for kind, batches, message in (
        ("PEDRO", [], "at least one validation batch"),
        ("RED", [collator(rows)], "architecture parameters, got 'red'"),
    ):
        model = peft.get_peft_model(model_of(tiny_folders["llama"]), config_of(kind))
        callback = BilevelCallback(batches)
        trainer = Trainer(
            model, settings, train_dataset=rows, data_collator=collator, callbacks=[callback]
        )
        with pytest.raises(ConfigError, match=message):
            trainer.train()
