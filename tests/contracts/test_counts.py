"""Contract of counts: the closed form is what `attach` creates, on backbones of many shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.cli.budget import nearest_size, size_field
from pedro_bench.nn.adapted_model import AdaptedModel
from tests.tiny import METHOD_NAMES, SIZES, build_method

SHAPES: dict[str, dict[str, Any]] = {
    "grouped_queries": {"model_type": "llama"},
    "as_many_keys_as_queries": {"model_type": "llama", "num_key_value_heads": 4},
    "narrow_heads_odd_layers": {"model_type": "llama", "head_dim": 6, "num_hidden_layers": 3},
    "biases_everywhere": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "biases_of_queries_keys_values": {"model_type": "qwen2"},
    "norms_within_heads": {"model_type": "qwen3"},
    "wide_heads_tied_embedding": {"model_type": "gemma", "num_key_value_heads": 1, "head_dim": 16},
    "four_norms_a_layer": {"model_type": "gemma2"},
}
"""What differs from a Llama with grouped-query attention, in the words of its `config.json`."""

SIZED = [
    name
    for name in METHOD_NAMES
    if size_field(type(build_method(name))) not in (None, "budget")  # one's own budget is a bound
]


@pytest.fixture(scope="module")
def backbone_of(
    tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Pretrained, Any]]:
    """A function that makes a tiny backbone of a shape once: its configuration, and it loaded."""
    root = tmp_path_factory.mktemp("shapes")
    made: dict[str, tuple[Pretrained, Any]] = {}

    def make(shape: str) -> tuple[Pretrained, Any]:
        if shape not in made:
            config = transformers.AutoConfig.for_model(**(SIZES | SHAPES[shape]))
            torch.manual_seed(0)
            transformers.AutoModelForCausalLM.from_config(config).save_pretrained(root / shape)
            backbone = Pretrained(
                name=shape,
                label=shape,
                path=str(root / shape),
                tokenizer_path=str(tiny_folders["llama"]),
                attn_implementation="eager",
            )
            made[shape] = backbone, backbone.load(device="cpu")
        return made[shape]

    return make


@pytest.mark.parametrize("name", METHOD_NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_count_is_what_attach_creates(
    backbone_of: Callable[[str], tuple[Pretrained, Any]], shape: str, name: str
) -> None:
    method = build_method(name)
    if getattr(method, "counts_last_phase", False):
        pytest.skip("the method counts what it retrains after its search")
    backbone, loaded = backbone_of(shape)
    count = method.count(backbone.shape())
    adapted = AdaptedModel(loaded, method)
    created = [p for p in adapted.parameters() if p.requires_grad]
    adapted.remove()
    assert count.trainable == sum(p.numel() for p in created)
    assert 0 < count.matrices <= count.trainable


@pytest.mark.parametrize("name", SIZED)
def test_twice_the_parameters_are_a_greater_size(name: str) -> None:
    method = build_method(name)
    shape = Pretrained(name="a", label="a", architecture=SIZES | {"model_type": "llama"}).shape()
    count = method.count(shape)
    sized = nearest_size(method, shape, 2 * count.matrices)
    assert sized.value > (getattr(method, sized.field) or 0)
    assert sized.count.matrices > count.matrices
    assert sized.count.trainable > count.trainable
