"""Costs: operations by closed forms, bytes by the saved file, energy by the device's counter."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import grid
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.runs.costs import adapter_bytes, operations
from pedro_bench.runs.forgetting import Unchanged
from pedro_bench.training import loop
from pedro_bench.training.energy import Counter, EnergyMeter
from tests.integration.grids import arguments, write_sst2
from tests.tiny import build_method

TOKENS = 20


@pytest.fixture
def bare(load_tiny: Callable[..., Any]) -> tuple[Any, int]:
    backbone = load_tiny()
    adapted = AdaptedModel(backbone, Unchanged(name="none", label="none"))
    found = operations(adapted, TOKENS)
    adapted.remove()
    return backbone, found


def test_operations_of_the_backbone_are_the_closed_form(bare: tuple[Any, int]) -> None:
    backbone, found = bare
    shape, config = backbone.shape, backbone.model.config
    positions = TOKENS + 1
    entries = sum(width.inputs * width.outputs for one in shape.widths for width in one.values())
    heads = config.num_attention_heads * config.head_dim
    attention = 4 * positions**2 * heads * shape.num_layers  # two products, two operations each
    head = 2 * shape.hidden_size * shape.vocab_size
    assert found == 2 * positions * entries + attention + head


@pytest.mark.parametrize("name", ["lora", "bitfit", "pedro"])
def test_a_methods_operations_are_its_matrices(bare: tuple[Any, int], name: str) -> None:
    backbone, found = bare
    method = build_method(name)
    if name == "bitfit":
        method = replace(method, r=None)
    adapted = AdaptedModel(backbone, method)
    adapted.eval()
    added = operations(adapted, TOKENS) - found
    matrices = method.count(backbone.shape).matrices
    per_token = {
        "lora": TOKENS + 1,
        "bitfit": 0,
        "pedro": 1,
    }  # PEDRO's generators run once a prompt
    assert added == 2 * per_token[name] * matrices
    assert adapter_bytes(adapted) == 4 * sum(one.numel() for one in adapted.adapter.parameters())
    adapted.remove()


def test_a_record_has_them(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of(arguments(tiny_folders["llama"], write_sst2(tmp_path / "data")))
    readings = itertools.count(step=2.5)  # one at the start of a step or evaluation, one at its end
    meter = EnergyMeter([Counter(lambda: next(readings))])
    monkeypatch.setattr(loop, "meter_of", lambda _: meter)
    (record,) = grid.run(settings)
    counted = record["phases"][-1]["steps"] + len(record["history"])
    assert record["energy"] == {"train_joules": 2.5 * counted, "of": "processors"}
    found = record["operations"]
    matrices = record["parameters"]["matrices"]
    assert found["method"] == 2 * (found["tokens"] + 1) * matrices
    assert record["memory"]["adapter_bytes"] == 4 * record["parameters"]["trainable"]
    (adapter,) = tmp_path.glob("outputs/**/adapter.safetensors")
    assert adapter.stat().st_size > record["memory"]["adapter_bytes"]
