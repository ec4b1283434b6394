"""A method that searches: trained in two phases by the experiment, recorded, saved and loaded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.grid import run
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.settings import build_group
from pedro_bench.runs import load
from pedro_bench.seeding import seed_torch
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.trainer import train
from tests.integration.grids import write_sst2
from tests.tiny import METHOD_NAMES, build_method

SEARCHES = [name for name in METHOD_NAMES if build_method(name).counts_last_phase]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_sst2(tmp_path / "data", train=30, validation=12)


def only_record(name: str, data: Path, tiny_folders: dict[str, Path], **more: Any) -> Path:
    """Train two steps a phase; return the path of the record."""
    overrides = [
        f"method={name}",
        "task=sst2",
        "data=files",
        f"data.root={data}",
        "backbone=causal_lm",
        f"backbone.path={tiny_folders['llama']}",
        "trainer.lr=0.01",
        "trainer.max_steps=3",
        "trainer.eval_every_steps=1",
        "seeds=[0]",
        f"results_dir={data.parent / 'results'}",
        f"output_dir={data.parent / 'outputs'}",
    ]
    overrides += [f"{key}={value}" for key, value in more.items()]
    (record,) = run(settings_of(overrides))
    assert record["status"] == "finished", record["error"]
    (path,) = (data.parent / "results" / "runs").rglob(f"*{record['key']}--seed0.json")
    return path


@pytest.mark.parametrize("name", SEARCHES)
def test_what_the_search_found_is_retrained_recorded_and_loaded(
    name: str, data: Path, tiny_folders: dict[str, Path]
) -> None:
    path = only_record(name, data, tiny_folders, keep_checkpoints=True)
    record = records.read(path)
    folder = data.parent / "outputs" / record.suite / path.stem
    saved = load(path)
    found = saved.adapted.method
    assert found.structure is not None and record.config["method"]["structure"] is None
    assert found.following(saved.adapted.adapter) is None
    trained = load_file(folder / "adapter" / "adapter.safetensors")
    size = sum(tensor.numel() for tensor in trained.values())
    assert record.parameters["trainable"] == size
    assert size <= build_method(name).count(saved.adapted.backbone.shape).trainable
    searched, retrained = (sorted((folder / f"phase-{phase}").glob("best-*")) for phase in (0, 1))
    assert searched
    assert retrained
    assert [entry["step"] for entry in record.history] == [1, 2, 3]
    search_size = sum(t.numel() for t in load_file(searched[-1] / "adapter.safetensors").values())
    assert [(phase.trainable, phase.steps) for phase in record.phases][:-1] == [(search_size, 3)]
    predictions = (path.parent / record.predictions["path"]).read_text().splitlines()
    rows = [json.loads(row) for row in predictions]
    assert len(rows) == record.splits["test"].rows
    state = json.loads((folder / "adapter" / "state.json").read_text())
    assert build_group("method", state["method"]) == found


def test_a_found_structure_can_be_trained_without_a_search(
    data: Path, tiny_folders: dict[str, Path]
) -> None:
    structure = {
        "method.structure": "[layers.0.query.lora_0,layers.1.ffn_down.adapter]",
        "method.bilevel": "none",
        "method.architecture_lr": "null",
    }
    path = only_record("ssp", data, tiny_folders, **structure)
    record = records.read(path)
    assert record.parameters["trainable"] == 64 + 3 * 32 + 3
    assert len(record.phases) == 1
    assert not (data.parent / "outputs" / record.suite / path.stem / "phase-1").exists()


KNOBS: list[tuple[str, dict[str, Any]]] = [
    ("ssp", {"budget": 0.3}),
    ("ssp", {"r": 2}),
    ("ssp", {"reduction_factor": 4}),
    ("ssp", {"beta": 2.0}),
    ("ssp", {"bilevel": "validation"}),
    ("ssp", {"bilevel": "train_holdout"}),
    ("ssp", {"bilevel": "none", "architecture_lr": None}),
    ("ssp", {"architecture_lr": 0.05}),
    ("ssp", {"lr": 3e-3}),
    ("learned_adapter", {"bottleneck_size": 5}),
    ("learned_adapter", {"places": ["ffn_down", "attn_out"]}),
    ("learned_adapter", {"operators": ["linear", "identity"]}),
    ("learned_adapter", {"bilevel": "validation"}),
    ("learned_adapter", {"architecture_lr": 0.05}),
    ("learned_adapter", {"lr": 3e-3}),
]


@pytest.fixture
def outcome(load_tiny: Callable[..., Any], tmp_path: Path) -> Callable[..., list[Any]]:
    """A function that trains the search of a method for four steps and returns all it trained."""

    def train_search(name: str, **changes: Any) -> list[Any]:
        seed_torch(0, "init")
        adapted = AdaptedModel(load_tiny(), build_method(name, **changes))
        rows = [Encoded((1, 5 + n % 7, 6, 9), (7 + n % 3, 2), n) for n in range(12)]
        train(
            adapted,
            train=rows[:8],
            dev=rows[8:],
            config=TrainerConfig(lr=1e-2, max_steps=4, batch_size=4, eval_every_steps=4),
            official_train_rows=8,
            seed=0,
            key="key",
            folder=tmp_path / f"{name}-{len(changes)}",
        )
        return [(path, t.tolist()) for path, t in sorted(adapted.adapter_state().items())]

    return train_search


@pytest.mark.parametrize(("name", "changes"), KNOBS)
def test_every_setting_moves_the_search(
    name: str, changes: dict[str, Any], outcome: Callable[..., list[Any]]
) -> None:
    assert outcome(name, **changes) != outcome(name)
