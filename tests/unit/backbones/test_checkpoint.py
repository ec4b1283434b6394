"""Headers of checkpoint files: names that wrappers gave, and types that are no plain numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError
from tests.tiny import save_tiny

QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "checkpoint", tie_word_embeddings=request.param)


def identity(folder: Path) -> str:
    return Pretrained(name="test", label="Test", path=str(folder)).identity()


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def shard(folder: Path, parts: list[dict[str, Any]]) -> None:
    from safetensors.torch import save_file

    (folder / "model.safetensors").unlink(missing_ok=True)
    places = {}
    for number, part in enumerate(parts):
        place = f"model-{number}.safetensors"
        save_file(part, folder / place, metadata={"format": "pt"})
        places |= dict.fromkeys(part, place)
    index = {"weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("rename", "wrapper", "remedy"),
    [
        (lambda name: f"_orig_mod.{name}", "torch.compile", r"model\._orig_mod"),
        (lambda name: f"module.{name}", "DataParallel", r"model\.module"),
        (lambda name: f"module._orig_mod.{name}", "torch.compile", r"model\._orig_mod"),
        (lambda name: f"base_model.model.{name}", "peft", r"merge_and_unload"),
        (lambda name: f"_fsdp_wrapped_module.{name}", "FSDP", "full state dict"),
        (lambda name: name.replace(".mlp.", "._orig_mod.mlp."), "torch.compile", "_orig_mod"),
        (lambda name: name.replace("q_proj.", "q_proj.base_layer."), "peft", "merge_and_unload"),
    ],
)
def test_names_that_a_wrapper_gave_are_refused_with_the_remedy(
    folder: Path, rename: Any, wrapper: str, remedy: str
) -> None:
    rewrite(folder, lambda state: {rename(name): tensor for name, tensor in state.items()})
    with pytest.raises(
        BackboneError, match=rf"names of the model itself, got .* comes from {wrapper}.*{remedy}"
    ):
        identity(folder)


def test_one_wrapped_name_in_a_later_shard_is_enough(folder: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    wrapped = {f"_orig_mod.{QUERY}": state.pop(QUERY)}
    shard(folder, [state, wrapped])
    with pytest.raises(BackboneError, match=rf"got _orig_mod\.{QUERY} in "):
        identity(folder)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.int32, "I32"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.float8_e5m2, "F8_E5M2"),
        (torch.bool, "BOOL"),
    ],
)
def test_types_that_need_a_quantisation_configuration(
    folder: Path, dtype: torch.dtype, name: str
) -> None:
    rewrite(folder, lambda state: {**state, QUERY: state[QUERY].to(dtype)})
    with pytest.raises(
        BackboneError, match=rf"must have one of the types .*got {name} for {QUERY} .*\(1 such"
    ):
        identity(folder)


def test_a_type_is_seen_in_a_later_shard_too(folder: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    odd = {QUERY: state.pop(QUERY).to(torch.float8_e4m3fn)}
    shard(folder, [state, odd])
    with pytest.raises(BackboneError, match=rf"got F8_E4M3 for {QUERY} in .*model-1"):
        identity(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_are_read(folder: Path, dtype: torch.dtype) -> None:
    rewrite(folder, lambda state: {name: tensor.to(dtype) for name, tensor in state.items()})
    loaded = Pretrained(name="test", label="Test", path=str(folder)).load(device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_a_name_in_two_shards_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    norm = {"model.norm.weight": torch.ones(32)}
    shard(folder, [state, {**norm, "other": torch.ones(1)}])
    with pytest.raises(
        BackboneError, match=r"must stand in one file, got model\.norm\.weight in .*model-0.*and in"
    ):
        identity(folder)


def test_one_file_and_shards_together_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file

    whole = (folder / "model.safetensors").read_bytes()
    shard(folder, [load_file(folder / "model.safetensors")])
    identity(folder)
    (folder / "model.safetensors").write_bytes(whole)
    with pytest.raises(BackboneError, match=r"or with shards, got .* which has both"):
        identity(folder)


@pytest.mark.parametrize("name", ["other.safetensors", "adapter_model.bin", "model.safetensors"])
def test_a_configuration_that_names_other_weights_is_refused(folder: Path, name: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "transformers_weights": name}))
    with pytest.raises(BackboneError, match=rf"got transformers_weights='{name}' in .*config"):
        identity(folder)
