"""Checkpoint folders: whole ones pass, missing and damaged ones are told in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from pedro_bench.backbones.folders import check_folder, folder_hash, local_folder, weight_files
from pedro_bench.errors import BackboneError


@pytest.fixture
def folder(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a tiny checkpoint that a test may damage."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny_folders["llama"], copy)
    return copy


@pytest.fixture
def sharded(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """The same checkpoint in several shards."""
    import transformers

    copy = tmp_path / "sharded"
    shutil.copytree(tiny_folders["llama"], copy)
    (copy / "model.safetensors").unlink()
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folders["llama"])
    model.save_pretrained(copy, max_shard_size="20KB")
    assert not (copy / "model.safetensors").exists()
    return copy


@pytest.mark.parametrize(
    ("path", "is_local"),
    [
        ("owner/name", False),
        ("name", True),
        ("/a/b", True),
        ("./a", True),
        ("../a", True),
        ("~/a", True),
        ("a/b/c", True),
        ("package:micro_weights", True),
    ],
)
def test_local_paths_and_hub_ids(path: str, is_local: bool) -> None:
    assert (local_folder(path) is not None) == is_local


def test_an_existing_folder_wins_over_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder("owner/name") == Path("owner/name")


def test_a_package_path_lies_beside_the_loaders() -> None:
    import pedro_bench.backbones

    expected = Path(pedro_bench.backbones.__file__ or "").parent / "micro_weights"
    assert local_folder("package:micro_weights") == expected


def test_whole_folders_pass(folder: Path, sharded: Path) -> None:
    check_folder(folder)
    check_folder(sharded)
    assert [file.name for file in weight_files(folder)] == ["model.safetensors"]
    assert len(weight_files(sharded)) > 1


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"backbone\.path must be an existing folder.*nowhere"):
        check_folder(tmp_path / "nowhere")


def test_missing_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BackboneError, match=r"folder with a config\.json, got .*checkpoint"):
        check_folder(folder)


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_damaged_configuration(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(BackboneError, match=r"config\.json must be a (readable )?JSON object, got"):
        check_folder(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"with model\.safetensors or its shards, got .*has no"):
        check_folder(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"only pickled ones \(pytorch_model\.bin\): save"):
        check_folder(folder)


def test_missing_shard(sharded: Path) -> None:
    missing = weight_files(sharded)[1]
    missing.unlink()
    with pytest.raises(BackboneError, match=rf"every shard .* must exist, got no {missing.name}"):
        check_folder(sharded)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "..", "a\\b"])
def test_a_shard_of_another_folder(sharded: Path, name: str) -> None:
    other = sharded.parent / "other" / "model.safetensors"
    other.parent.mkdir()
    other.write_bytes(weight_files(sharded)[0].read_bytes())
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(BackboneError, match=r"every shard .* must lie beside it, got .*download"):
        check_folder(sharded)


def test_index_without_shards(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(BackboneError, match=r"index\.json must have a weight_map .*got none"):
        check_folder(sharded)


@pytest.mark.parametrize("change", [-1, -1000, 1])
def test_cut_or_lengthened_weights(folder: Path, change: int) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    expected, size = len(content), len(content) + change
    with pytest.raises(BackboneError, match=rf"must have {expected} bytes .*got {size}: .*damaged"):
        check_folder(folder)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"\x05\0\0\0\0\0\0\0[1,2]"])
def test_files_that_are_no_safetensors(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BackboneError, match=r"must be a safetensors file, got a damaged header"):
        check_folder(folder)


def test_a_change_is_seen_within_one_process(sharded: Path) -> None:
    before = folder_hash(sharded)
    assert folder_hash(sharded) == before
    file = weight_files(sharded)[-1]
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)
    assert folder_hash(sharded) != before
