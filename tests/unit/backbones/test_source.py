"""Where weights come from: a GGUF file is read as Transformers reads it, once, and known by its hash."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pedro_bench.backbones import dequantising, gguf
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError
from tests.gguf_file import HIDDEN, LAYERS, VOCABULARY, save_gguf

pytest.importorskip("gguf", reason="needs the extra gguf")

WHEEL = {"project": "a-model", "version": "1.0", "sha256": "0" * 64, "folder": "a_model"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole GGUF file."""
    return save_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def file(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in a folder from which the test is called."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(written, tmp_path / "tiny.gguf"))


def make(path: Any, **options: Any) -> Pretrained:
    return Pretrained(**{"name": "test", "label": "Test", "path": str(path), **options})


def test_logits_and_tokens_are_those_of_transformers_own_reading(file: Path) -> None:
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    loaded = make(file).load(device="cpu")
    ids = loaded.tokenizer("the cat the", return_tensors="pt")["input_ids"]
    assert ids.tolist() == tokenizer("the cat the", return_tensors="pt")["input_ids"].tolist()
    with torch.no_grad():
        assert torch.equal(loaded.model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert loaded.tokenizer.eos_token_id == tokenizer.eos_token_id == 2
    assert loaded.model.dtype == torch.float32


def test_the_weights_are_the_blocks_multiplied_out(file: Path) -> None:
    """Q8_0 by its definition: 32 signed bytes times one 16-bit float."""
    import numpy as np
    from gguf import GGUFReader

    reader = GGUFReader(file)
    (tensor,) = [one for one in reader.tensors if one.name == "blk.1.ffn_up.weight"]
    blocks = np.asarray(tensor.data).reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    expected = (scales * blocks[:, 2:].copy().view(np.int8)).reshape(-1, HIDDEN)
    loaded = make(file).load(device="cpu")
    (site,) = [one for one in loaded.sites("ffn_up") if one.layer == 1]
    assert np.array_equal(site.module.weight.numpy(), expected)


def test_the_file_is_read_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = make(file)
    first = backbone.load(device="cpu").fingerprint()
    assert "making float32 weights of it, once" in capsys.readouterr().err
    (kept,) = dequantising.KEPT_IN.glob("gguf-*")
    assert not list(dequantising.KEPT_IN.glob(".gguf-*"))
    assert "quantization_config" not in json.loads((kept / "config.json").read_text())
    assert backbone.load(device="cpu").fingerprint() == first
    assert "once" not in capsys.readouterr().err

    weights = kept / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    assert backbone.load(device="cpu").fingerprint() == first, "a damaged folder is made again"


def test_its_identity_is_the_files_hash(file: Path, tmp_path: Path) -> None:
    backbone = make(file)
    before = backbone.identity()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert before == f"sha256:{digest} gguf"
    assert not dequantising.KEPT_IN.exists(), "nothing is read or written for it"
    loaded = backbone.load(device="cpu")
    assert loaded.revision == loaded.content() == backbone.identity() == before
    other = shutil.copy(file, tmp_path / "moved")
    assert make(other).identity() == before, "neither place nor ending matters"
    assert make(save_gguf(tmp_path / "other.gguf", seed=1)).identity() != before


def test_the_shape_is_known_from_the_files_settings(file: Path) -> None:
    backbone = make(file)
    shape = backbone.shape()
    assert not dequantising.KEPT_IN.exists(), "no weights were read"
    assert (shape.num_layers, shape.hidden_size, shape.vocab_size) == (LAYERS, HIDDEN, VOCABULARY)
    assert shape.max_positions == 128
    assert backbone.load(device="cpu").shape == shape == backbone.shape()


def test_the_tokenizer_comes_from_the_file(file: Path) -> None:
    tokenizer = make(file).load_tokenizer()
    assert tokenizer.convert_ids_to_tokens(tokenizer("the cat")["input_ids"]) == ["the", "Ġ", "cat"]


USES = [
    Pretrained.identity,
    Pretrained.shape,
    Pretrained.load_tokenizer,
    lambda backbone: backbone.load(device="cpu"),
]


@pytest.mark.parametrize("kept", [0, 3, 4, 7, 20, 300, 900, -1])
def test_a_truncated_file_is_refused(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    for use in USES:
        with pytest.raises(BackboneError, match=r"tiny\.gguf.*(cut, download|begin with GGUF)"):
            use(make(file))
    assert not dequantising.KEPT_IN.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + b"\0" * 64, "does not begin with GGUF: download it again"),
        (b"GGUF\x00\x00\x00\x03" + b"\0" * 64, "version 2 or 3, little endian, got 50331648"),
        (b"GGUF\x01\0\0\0" + b"\0" * 64, "must be GGUF of version 2 or 3, little endian, got 1"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 64, "must have more bytes for its header, got 72"),
    ],
)
def test_a_foreign_file_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        make(file).identity()


def test_one_piece_of_several_is_refused(file: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(file, "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BackboneError, match="one of 3 pieces: join them"):
        make(file).identity()


def test_an_architecture_that_transformers_does_not_read_is_refused(file: Path) -> None:
    save_gguf(file, architecture="clip")
    with pytest.raises(BackboneError, match=r"tiny\.gguf must describe .*refusal.*clip"):
        make(file).load(device="cpu")
    assert not list(dequantising.KEPT_IN.glob("*")), "nothing half made stays"


def test_without_the_extra_the_command_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"extra gguf, got none .*pedro_bench\[gguf\]"):
        make(file).identity()


@pytest.mark.parametrize("path", ["weights/model.gguf", "weights/a/model"])
def test_what_was_not_fetched_names_the_command(path: str) -> None:
    backbone = make(path, wheel=WHEEL)
    for use in USES:
        with pytest.raises(
            BackboneError,
            match=rf"must lie in '{path}', got nothing.*prefetch\.py backbone=test from=index",
        ):
            use(backbone)


def test_what_was_not_fetched_has_the_shape_of_its_architecture() -> None:
    architecture = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 64,
    }
    assert make("a/b.gguf", wheel=WHEEL, architecture=architecture).shape().hidden_size == 32
