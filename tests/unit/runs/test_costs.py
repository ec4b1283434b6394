"""Costs: operations by closed forms, bytes by the saved file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench import grid
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.runs import costs
from pedro_bench.runs.costs import adapter_bytes, operations
from pedro_bench.runs.forgetting import Unchanged
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


def test_a_record_has_both(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of(arguments(tiny_folders["llama"], write_sst2(tmp_path / "data")))
    (record,) = grid.run(settings)
    found = record["operations"]
    matrices = record["parameters"]["matrices"]
    assert found["method"] == 2 * (found["tokens"] + 1) * matrices
    assert record["memory"]["adapter_bytes"] == 4 * record["parameters"]["trainable"]
    (adapter,) = tmp_path.glob("outputs/**/adapter.safetensors")
    assert adapter.stat().st_size > record["memory"]["adapter_bytes"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone forgets a peak")
def test_the_highest_memory_is_this_runs_and_not_an_earlier_ones() -> None:
    """Workers run many runs in one process."""
    size = 400 * 2**20
    costs.reset_process_peak()
    before = costs.process_peak_bytes()
    held = torch.ones(size, dtype=torch.uint8)
    with_it = costs.process_peak_bytes()
    del held
    assert with_it > before + size // 2
    costs.reset_process_peak()
    assert costs.process_peak_bytes() < with_it - size // 2
    assert costs.peak_bytes(7) == {"peak_bytes": 7, "of": "gpu"}
    assert costs.peak_bytes(None)["of"] == "process"
