"""Paths that are no folder of whole weights are named as what they are."""

import json
import shutil
from pathlib import Path

import pytest

from pedro_bench.backbones.folders import local_folder
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError


@pytest.fixture
def folder(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint that a test may change."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny_folders["llama"], copy)
    return copy


def identity(path: Path | str) -> str:
    return Pretrained(name="test", label="Test", path=str(path)).identity()


def write_adapter(folder: Path, *names: str) -> None:
    for name in names:
        content = b"{}"
        if name == "adapter_config.json":
            content = json.dumps({"base_model_name_or_path": "owner/base"}).encode()
        (folder / name).write_bytes(content)


ADAPTERS = [
    ("adapter_config.json",),
    ("adapter_config.json", "adapter_model.safetensors"),
    ("adapter_config.json", "adapter_model.bin"),
    ("adapter_model.safetensors",),
    ("adapter_model.bin",),
]


@pytest.mark.parametrize("names", ADAPTERS, ids="+".join)
def test_a_peft_adapter_beside_whole_weights_is_refused(
    folder: Path, names: tuple[str, ...]
) -> None:
    before = identity(folder)
    write_adapter(folder, *names)
    backbone = Pretrained(name="test", label="Test", path=str(folder))
    for use in (backbone.identity, lambda: backbone.load(device="cpu")):
        with pytest.raises(
            BackboneError, match=rf"beside them \({', '.join(names)}\): merge it .*load the run"
        ):
            use()
    for name in names:
        (folder / name).unlink()
    assert identity(folder) == before


def test_a_real_adapter_beside_whole_weights_would_be_applied_and_is_refused(folder: Path) -> None:
    """Without the refusal Transformers gives another model under the same identity."""
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 5, 9]])
    plain = model(input_ids=ids).logits
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(folder)
    changed = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.allclose(changed(input_ids=ids).logits, plain)
    with pytest.raises(BackboneError, match="a peft adapter lies beside them"):
        identity(folder)


@pytest.mark.parametrize("place", ["checkpoint-500", "adapter", "a/b"])
def test_an_adapter_in_a_folder_within_is_not_applied(folder: Path, place: str) -> None:
    import torch

    before = identity(folder)
    fingerprint = Pretrained(name="t", label="t", path=str(folder)).load(device="cpu").fingerprint()
    (folder / place).mkdir(parents=True)
    write_adapter(folder / place, "adapter_config.json", "adapter_model.safetensors")
    assert identity(folder) == before
    loaded = Pretrained(name="t", label="t", path=str(folder)).load(device="cpu")
    assert loaded.fingerprint() == fingerprint
    assert loaded.model.dtype == torch.float32


@pytest.mark.parametrize("names", ADAPTERS, ids="+".join)
@pytest.mark.parametrize("with_config", [False, True])
def test_a_folder_of_an_adapter_alone_is_named(
    folder: Path, names: tuple[str, ...], with_config: bool
) -> None:
    (folder / "model.safetensors").unlink()
    if not with_config:
        (folder / "config.json").unlink()
    write_adapter(folder, *names)
    base = "base model 'owner/base'," if "adapter_config.json" in names else "base model,"
    with pytest.raises(BackboneError, match=rf"holds a peft adapter alone .*give its {base}"):
        identity(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"base_model_name_or_path": null}'])
def test_an_adapter_without_a_base_models_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(BackboneError, match=r"a peft adapter alone .*give its base model, and"):
        identity(tmp_path)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter/adapter.safetensors"])
def test_the_folder_of_a_run_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    with pytest.raises(BackboneError, match=r"holds the adapter of a run: load it with"):
        identity(tmp_path)


@pytest.mark.parametrize("with_config", [False, True])
def test_a_folder_of_gguf_files_is_named(folder: Path, with_config: bool) -> None:
    (folder / "model.safetensors").rename(folder / "model-q8_0.gguf")
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(
        BackboneError, match=r"a folder of GGUF files: give backbone\.path=.*/model-q8_0\.gguf"
    ):
        identity(folder)


def test_gguf_files_beside_whole_weights_do_not_matter(folder: Path) -> None:
    before = identity(folder)
    (folder / "model-q8_0.gguf").write_bytes(b"GGUF")
    assert identity(folder) == before


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_single_file_names_its_folder(folder: Path, name: str) -> None:
    with pytest.raises(
        BackboneError, match=rf"got the file '.*{name}': give the folder it lies in"
    ):
        identity(folder / name)


@pytest.mark.parametrize("path", ["a/model.gguf", "a/model.safetensors", "a/pytorch_model.bin"])
def test_a_file_that_is_not_there_is_no_hub_id(path: str) -> None:
    assert local_folder(path) == Path(path)
    with pytest.raises(BackboneError, match=rf"must be an existing folder .*got '{path}'"):
        identity(path)
