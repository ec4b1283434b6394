"""The last layers, all of them and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import build_group
from tests.tiny import CONF, build_method, read_yaml, save_tiny


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve layers, so that `layers.1.` and `layers.11.` can be mistaken for each other."""
    return save_tiny(tmp_path_factory.mktemp("deep"), num_hidden_layers=12)


@pytest.fixture
def deep(deep_folder: Path) -> Any:
    return Pretrained(name="deep", label="deep", path=str(deep_folder)).load(device="cpu")


PARTS = (
    *(f"self_attn.{part}_proj" for part in "qkvo"),
    *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
    "input_layernorm",
    "post_attention_layernorm",
)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_exactly_the_last_layers_are_trained(deep: Any, num_layers: int) -> None:
    adapted = AdaptedModel(deep, build_method("ft_top2", num_layers=num_layers))
    expected = {
        f"model.layers.{layer}.{part}.weight"
        for layer in range(12 - num_layers, 12)
        for part in PARTS
    }
    trainable = {key for key, p in deep.model.named_parameters() if p.requires_grad}
    assert trainable == expected
    own = {key.removeprefix("backbone."): p for key, p in adapted.adapter.named_parameters()}
    assert own == {key: p for key, p in deep.model.named_parameters() if key in expected}
    count = adapted.method.count(deep.shape)
    assert count.trainable == count.matrices == sum(p.numel() for p in own.values())


def test_a_step_moves_them_and_nothing_else(deep: Any, make_batch: Callable[..., Any]) -> None:
    before = {key: value.clone() for key, value in deep.model.state_dict().items()}
    adapted = AdaptedModel(deep, build_method("ft_top2"))
    loss, count = adapted(make_batch())
    (loss / count).backward()
    torch.optim.SGD(adapted.parameters(), lr=0.5).step()
    moved = {
        key for key, value in deep.model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {f"model.layers.{layer}.{part}.weight" for layer in (10, 11) for part in PARTS}


def test_size_on_llama2_7b() -> None:
    config = read_yaml(CONF / "backbone" / "llama2_7b.yaml")
    count = build_method("ft_top2").count(build_group("backbone", config).shape())
    layer = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert (count.matrices, count.trainable) == (2 * layer, 2 * layer) == (404_766_720,) * 2


def test_more_layers_than_there_are_are_refused(deep: Any) -> None:
    method = build_method("ft_top2", num_layers=13)
    message = r"method\.num_layers must be at most the backbone's 12 layers, got 13\."
    with pytest.raises(ConfigError, match=message):
        AdaptedModel(deep, method)
    with pytest.raises(ConfigError, match=message):
        method.count(deep.shape)
    AdaptedModel(deep, build_method("ft_top2")).remove()
