"""Sizes from a configuration alone: exact counts, checked against models on the meta device."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.backbones.shapes import CONVENTIONS, is_readable, read_shape
from pedro_bench.errors import BackboneError
from tests.tiny import read_yaml

CONF = Path(__file__).parents[3] / "conf" / "backbone"

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def from_yaml(name: str, **changes: Any) -> Pretrained:
    values = read_yaml(CONF / f"{name}.yaml")
    values.pop("_target_")
    return Pretrained(**{**values, **changes})


@pytest.mark.parametrize(
    ("name", "parameters", "layers", "hidden", "ffn", "value"),
    [
        ("llama2_7b", 6_738_415_616, 32, 4096, 11008, 4096),
        ("llama2_13b", 13_015_864_320, 40, 5120, 13824, 5120),
        ("gemma_2b", 2_506_172_416, 18, 2048, 16384, 256),
    ],
)
def test_published_backbones(
    name: str, parameters: int, layers: int, hidden: int, ffn: int, value: int
) -> None:
    from pedro_bench.backbones.loading import measure_config

    backbone = from_yaml(name)
    shape = backbone.shape()
    assert shape.num_parameters == parameters
    assert (shape.num_layers, shape.hidden_size, shape.ffn_dim) == (layers, hidden, ffn)
    assert {widths["value"].outputs for widths in shape.widths} == {value}
    assert backbone.architecture is not None
    assert measure_config(backbone.architecture, name) == shape


def test_worked_by_hand() -> None:
    """4 heads of 16 over 32: q 32x64, k and v 32x32, o 64x32, three FFN matrices of 32x48."""
    shape = read_shape({"model_type": "llama", **TINY}, "test")
    layer = 32 * 64 + 2 * 32 * 32 + 64 * 32 + 3 * 32 * 48 + 2 * 32
    assert shape.num_parameters == 2 * 64 * 32 + 3 * layer + 32
    widths = shape.widths[2]
    assert (widths["query"].inputs, widths["query"].outputs) == (32, 64)
    assert (widths["attn_out"].inputs, widths["attn_out"].outputs) == (64, 32)
    assert (widths["ffn_down"].inputs, widths["ffn_down"].outputs) == (48, 32)


VARIATIONS: list[dict[str, Any]] = [
    {},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"attention_bias": True},
    {"mlp_bias": True},
    {"num_key_value_heads": 4},
]


@pytest.mark.parametrize("changes", VARIATIONS, ids=lambda changes: ",".join(changes) or "plain")
@pytest.mark.parametrize("family", sorted(CONVENTIONS))
def test_every_convention_equals_the_model_itself(family: str, changes: dict[str, Any]) -> None:
    from pedro_bench.backbones.loading import measure_config

    mapping = {"model_type": family, **TINY, **changes}
    assert is_readable(mapping)
    assert read_shape(mapping, "test") == measure_config(mapping, "test")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_absent_head_sizes_follow_from_the_hidden_size(family: str) -> None:
    from pedro_bench.backbones.loading import measure_config

    mapping = {"model_type": family, **TINY}
    del mapping["head_dim"]
    assert is_readable(mapping)
    shape = read_shape(mapping, "test")
    assert shape.widths[0]["query"].outputs == 32
    assert shape == measure_config(mapping, "test")


def test_llama_without_groups_has_a_key_for_every_query() -> None:
    mapping = {"model_type": "llama", **TINY, "num_key_value_heads": None}
    assert read_shape(mapping, "test").widths[0]["key"].outputs == 64


@pytest.mark.parametrize(
    ("family", "absent"),
    [("mistral", "num_key_value_heads"), ("gemma", "head_dim"), ("qwen3", "vocab_size")],
)
def test_what_only_transformers_knows_is_measured(family: str, absent: str) -> None:
    mapping = {"model_type": family, **TINY}
    del mapping[absent]
    assert not is_readable(mapping)


def test_unknown_architecture_is_measured_on_the_meta_device() -> None:
    mapping = {"model_type": "olmo2", **TINY}
    mapping.pop("head_dim")
    shape = Pretrained(name="x", label="x", architecture=mapping).shape()
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32 + 32 + 16
    assert shape.num_parameters == 2 * 64 * 32 + 3 * layer + 32
    assert shape.family == "olmo2"


@pytest.mark.parametrize("value", [0, -4, 2.5, "32", True])
def test_sizes_must_be_positive_whole_numbers(value: Any) -> None:
    mapping = {"model_type": "llama", **TINY, "hidden_size": value}
    with pytest.raises(BackboneError, match=r"hidden_size of test must be a whole number.*got "):
        read_shape(mapping, "test")


def test_shape_and_identity_import_neither_torch_nor_transformers() -> None:
    script = f"""
import sys
from pathlib import Path
from tests.tiny import read_yaml
from pedro_bench.backbones.pretrained import Pretrained
for name in ("llama2_7b", "llama2_13b", "gemma_2b"):
    values = read_yaml(Path({str(CONF)!r} + f"/{{name}}.yaml"))
    del values["_target_"]
    backbone = Pretrained(**values)
    backbone.shape(), backbone.identity()
heavy = {{"torch", "transformers", "numpy", "huggingface_hub"}} & set(sys.modules)
print(sorted(heavy))
"""
    root = CONF.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_local_folder_wins_over_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **TINY}))
    assert from_yaml("llama2_7b", path=str(tmp_path)).shape().num_layers == 3
