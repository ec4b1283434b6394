"""Rows that a tiny backbone can learn from, and a short protocol."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.protocols.batch import Encoded
from pedro_bench.records import RunRecord
from pedro_bench.training.config import TrainerConfig


def make_rows(count: int, seed: int) -> list[Encoded]:
    """Rows of unequal lengths whose answer repeats a token of the prompt."""
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        prompt = [generator.randrange(4, 40) for _ in range(generator.randrange(3, 9))]
        answer = (prompt[0], 2) if index % 3 else (prompt[0], prompt[1], 2)
        rows.append(Encoded((1, *prompt), answer, index))
    return rows


@pytest.fixture
def train_rows() -> list[Encoded]:
    return make_rows(48, seed=1)


@pytest.fixture
def dev_rows() -> list[Encoded]:
    return make_rows(11, seed=2)


@pytest.fixture
def short() -> Callable[..., TrainerConfig]:
    """A protocol of 8 steps of 16 with an evaluation every 2; keywords change it."""

    def make(**changes: Any) -> TrainerConfig:
        values = {"lr": 3e-2, "max_steps": 8, "batch_size": 16, "eval_every_steps": 2, **changes}
        return TrainerConfig(name="short", label="short", **values)

    return make


@pytest.fixture
def run_training(
    load_tiny: Callable[..., Any],
    train_rows: list[Encoded],
    dev_rows: list[Encoded],
    tmp_path: Path,
) -> Callable[..., Any]:
    """A function that trains a method on a fresh tiny backbone; returns (adapted model, result)."""

    def run(method: Any, config: TrainerConfig, folder: str = "run", **changes: Any) -> Any:
        from pedro_bench.nn.adapted_model import AdaptedModel
        from pedro_bench.seeding import seed_torch
        from pedro_bench.training.trainer import train

        seed_torch(0, "init")
        adapted = AdaptedModel(load_tiny(), method)
        options: dict[str, Any] = {
            "train": train_rows,
            "dev": dev_rows,
            "official_train_rows": 48,
            "seed": 0,
            "key": "abc",
            "folder": tmp_path / folder,
            **changes,
        }
        result = train(adapted, config=config, **options)
        return adapted, result

    return run


@pytest.fixture
def lora() -> Any:
    from pedro_bench.methods.lora import Lora

    return Lora(
        name="lora", label="LoRA", r=4, alpha=8.0, dropout=0.0, roles=("query", "value", "ffn_up")
    )


@pytest.fixture
def pedro() -> Callable[..., Any]:
    def make(bilevel: str = "validation") -> Any:
        from pedro_bench.methods.pedro import Pedro

        return Pedro(
            name="pedro",
            label="PEDRO",
            r=4,
            roles=("query", "value", "ffn_up"),
            pooling="last",
            activation="rational",
            bilevel=bilevel,
        )

    return make


@pytest.fixture
def record() -> RunRecord:
    """The record of a run that a tracker follows."""
    return RunRecord(
        key="0123456789ab",
        status="running",
        method="pedro",
        task="boolq",
        backbone="micro",
        data="micro",
        suite="table1",
        seed=3,
        config={"method": {"r": 8, "roles": ["q", "v"]}},
        main_metric="accuracy",
        started="2026-11-28T10:00:00+00:00",
    )
