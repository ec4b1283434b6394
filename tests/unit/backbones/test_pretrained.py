"""The configuration of a backbone: what it refuses, and what identifies its weights."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones.folders import local_folder
from pedro_bench.backbones.pretrained import EMBEDDED_PATH, Pretrained
from pedro_bench.cli.command import guarded
from pedro_bench.cli.efficiency import efficiency
from pedro_bench.cli.plan import plan
from pedro_bench.cli.run import run
from pedro_bench.errors import BackboneError, ConfigError
from tests.tiny import build_backbone

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def make(**options: Any) -> Pretrained:
    return Pretrained(**{"name": "test", "label": "Test", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": " "}, r"backbone\.name must be a text, not empty, got ' '"),
        ({"path": 7}, r"backbone\.path must be a text or null, not empty, got 7"),
        ({"dtype": "float31"}, r"backbone\.dtype must .*got 'float31'.*Did you mean 'float32'"),
        ({"attn_implementation": "spda"}, r"attn_implementation .*got 'spda'.*mean 'sdpa'"),
        ({"random_weights": "yes"}, r"backbone\.random_weights must be true or false, got 'yes'"),
        ({"random_seed": -1}, r"backbone\.random_seed must be a whole number .*got -1"),
        ({"revision": "main"}, r"backbone\.revision must be a commit of 40 hex.*got 'main'"),
        ({"revision": COMMIT.upper()}, r"backbone\.revision must be a commit of 40 hex"),
        ({"architecture": {}}, r"backbone\.architecture must be a mapping with a model_type.*{}"),
        ({"architecture": [1]}, r"backbone\.architecture must be a mapping.*got \[1\]"),
    ],
)
def test_bad_settings_are_refused_on_construction(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


@pytest.mark.parametrize("name", ["micro", "llama2_7b", "smollm2_135m"])
def test_every_configuration_can_be_remembered(name: str) -> None:
    """A process loads a backbone once for all runs that share it, and finds it by its configuration."""
    first, again = build_backbone(name), build_backbone(name)
    assert first == again
    assert hash(first) == hash(again)
    assert build_backbone("gemma_2b") not in {first}


def load(backbone: Pretrained) -> object:
    return backbone.load(device="cpu")


@pytest.mark.parametrize("use", [Pretrained.identity, Pretrained.shape, load])
def test_a_path_is_required_when_used(use: Any) -> None:
    with pytest.raises(BackboneError, match=r"backbone\.path must be .*got None: set backbone"):
        use(make())


@pytest.mark.parametrize("use", [Pretrained.identity, Pretrained.shape, load])
def test_a_hub_id_needs_a_pinned_commit(use: Any) -> None:
    with pytest.raises(
        BackboneError,
        match=r"backbone\.revision must be set .*'owner/name', got None: set backbone",
    ):
        use(make(path="owner/name"))


def test_a_pinned_hub_id_is_its_identity() -> None:
    assert make(path="owner/name", revision=COMMIT).identity() == f"owner/name@{COMMIT}"


def test_identity_follows_every_byte_that_matters(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folders["llama"], folder)
    backbone = make(path=str(folder))
    first = backbone.identity()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first)
    assert make(path=str(tiny_folders["llama"])).identity() == first, "the place does not matter"

    (folder / "README.md").write_text("words")
    assert backbone.identity() == first
    seen = {first}
    for name in ("tokenizer.json", "config.json"):
        file = folder / name
        file.write_text(file.read_text() + "\n")
        seen.add(backbone.identity())
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.add(backbone.identity())
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"path": "llama"}, "'backbone.path=/.*llama'"),
        ({"adapter": "DIR"}, "'backbone.adapter=DIR'"),
        ({"random_weights": True}, "'backbone.random_weights=true'"),
    ],
)
def test_the_embedded_backbones_name_is_refused_for_other_weights(
    change: dict[str, Any], got: str, tiny_folders: dict[str, Path]
) -> None:
    if "path" in change:
        change = {"path": str(tiny_folders["llama"])}
    embedded = build_backbone("micro")
    embedded.check_name()
    own = replace(embedded, **change)
    with pytest.raises(
        ConfigError,
        match=rf"backbone\.name must be another than 'micro'.*, got {got}: add backbone\.name=NAME",
    ):
        own.check_name()
    replace(own, name="mine").check_name()


def test_a_copy_of_the_embedded_backbone_keeps_its_name(tmp_path: Path) -> None:
    weights = local_folder(EMBEDDED_PATH)
    assert weights is not None
    shutil.copytree(weights, tmp_path / "copy")
    replace(build_backbone("micro"), path=str(tmp_path / "copy")).check_name()


@pytest.mark.parametrize("command", [run, plan, efficiency])
def test_no_command_records_other_weights_as_the_embedded_backbone(
    command: Any, tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    own = [f"backbone.path={tiny_folders['llama']}", f"results_dir={tmp_path}"]
    assert guarded(command, [*own, "task=copa"]) == 2
    assert "backbone.name must be another than 'micro'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_identity_of_random_weights_follows_shape_and_seed() -> None:
    sizes = {"model_type": "llama", "hidden_size": 8}
    identities = {
        make(random_weights=True, random_seed=seed, architecture=arch).identity().split()[0]
        for seed, arch in ((0, sizes), (1, sizes), (0, {**sizes, "hidden_size": 16}))
    }
    assert len(identities) == 3
    turned = dict(reversed(sizes.items()))
    assert make(random_weights=True, architecture=turned).identity().split()[0] in identities


def test_another_tokenizer_changes_the_identity(tiny_folders: dict[str, Path]) -> None:
    folder = str(tiny_folders["llama"])
    plain = make(path=folder).identity()
    other = make(path=folder, tokenizer_path=str(tiny_folders["gemma"])).identity()
    assert other.startswith(plain)
    assert other != plain


@pytest.mark.parametrize("path", ["./nowhere", "owner/name", "/nowhere/at/all"])
def test_tokenizer_path_must_hold_a_tokenizer(tiny_folders: dict[str, Path], path: str) -> None:
    backbone = make(path=str(tiny_folders["llama"]), tokenizer_path=path)
    with pytest.raises(BackboneError, match=rf"backbone\.tokenizer_path must .*got '{path}'"):
        backbone.identity()


def test_mapping_of_any_class_becomes_plain() -> None:
    from omegaconf import OmegaConf

    config = OmegaConf.create({"model_type": "llama", "rope_scaling": {"factors": [1, 2]}})
    backbone = make(architecture=config)
    assert type(backbone.architecture) is dict
    assert backbone.architecture == {"model_type": "llama", "rope_scaling": {"factors": [1, 2]}}
