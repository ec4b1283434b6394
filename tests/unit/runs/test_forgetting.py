"""Forgetting: the loss on plain text is Transformers' own, and a run records its rise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pedro_bench import grid
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.runs.forgetting import LEAST, PlainText, Unchanged, windows
from pedro_bench.runs.identity import plain_text, run_key
from tests.integration.grids import arguments, write_sst2

TEXT = "The river rose in the night and the mill stood still. " * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def expected(model: Any, tokenizer: Any, size: int) -> float:
    """Transformers' loss with the first half of each window masked by -100, tokens weighing alike."""
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    total, number = 0.0, 0
    for start in range(0, len(ids), size):
        part = torch.tensor([ids[start : start + size]])
        if part.shape[1] < min(LEAST, size):
            continue
        labels = part.clone()
        labels[:, : part.shape[1] // 2] = -100
        count = int((labels != -100).sum())
        with torch.no_grad():
            total += float(model(input_ids=part, labels=labels).loss) * count
        number += count
    return total / number


@pytest.mark.parametrize("size", [64, 48])
def test_the_loss_of_the_bare_backbone_is_that_of_transformers(
    load_tiny: Callable[..., Any], text: Path, size: int
) -> None:
    backbone = load_tiny()
    found = PlainText(str(text), backbone, size, batch_size=3)
    assert found.before == pytest.approx(
        expected(backbone.model, backbone.tokenizer, size), rel=1e-5
    )


def test_a_changed_backbone_has_forgotten_the_difference(
    load_tiny: Callable[..., Any], text: Path
) -> None:
    backbone = load_tiny()
    found = PlainText(str(text), backbone, 64, batch_size=4)
    adapted = AdaptedModel(backbone, Unchanged(name="none", label="none"))
    assert found.measured(adapted)["rise"] == 0.0
    with torch.no_grad():
        backbone.sites("ffn_down")[0].module.weight.mul_(3.0)
    measured = found.measured(adapted)
    adapted.remove()
    after = expected(backbone.model, backbone.tokenizer, 64)
    assert measured["after"] == pytest.approx(after, rel=1e-5)
    assert measured["rise"] == pytest.approx(after - found.before, rel=1e-4)
    assert measured["rise"] != 0.0


def test_half_of_each_window_is_the_prompt(load_tiny: Callable[..., Any]) -> None:
    tokenizer = load_tiny().tokenizer
    ids = tuple(tokenizer(TEXT, add_special_tokens=False).input_ids)
    parts = windows(TEXT, tokenizer, 50, "text.txt")
    assert sum((one.prompt_ids + one.answer_ids for one in parts), ())[:200] == ids[:200]
    assert all(0 <= len(one.answer_ids) - len(one.prompt_ids) <= 1 for one in parts)
    with pytest.raises(
        DataError, match=r"must have at least 32 tokens of text, got \d+ in 'a\.txt'"
    ):
        windows("Short.", tokenizer, 50, "a.txt")


@pytest.fixture
def own(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    data = write_sst2(tmp_path / "data")
    return [one for one in arguments(tiny_folders["llama"], data) if one != "method=lora"]


def test_a_run_records_what_it_forgot(own: list[str], text: Path) -> None:
    settings = settings_of([*own, "method=full_ft", f"evaluation.forgetting={text}"])
    (record,) = grid.run(settings)
    measured = record["forgetting"]
    assert measured["rise"] == pytest.approx(measured["after"] - measured["before"])
    assert measured["rise"] != 0.0
    assert measured["tokens"] > 100
    (path,) = Path("results").rglob("full_ft--*.json")
    assert json.loads(path.read_text())["forgetting"] == measured


def test_the_key_holds_the_text_and_not_its_place(
    own: list[str], text: Path, tmp_path: Path
) -> None:
    plain = [*own, "method=lora"]
    keys = [run_key(settings_of([*plain, f"evaluation.forgetting={text}"]))]
    moved = tmp_path / "moved.txt"
    moved.write_text(TEXT)
    keys.append(run_key(settings_of([*plain, f"evaluation.forgetting={moved}"])))
    moved.write_text(TEXT + "More.")
    keys.append(run_key(settings_of([*plain, f"evaluation.forgetting={moved}"])))
    keys.append(run_key(settings_of(plain)))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.txt", "No such file or directory"),
        (".", "Is a directory"),
        ("latin", "'utf-8' codec"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(
    own: list[str], name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(
        DataError,
        match=rf"evaluation\.forgetting must be a UTF-8 text file, got '{name}' \({reason}.*: give its",
    ):
        run_key(settings_of([*own, "method=lora", f"evaluation.forgetting={name}"]))


def test_a_texts_line_ends_are_line_feeds(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\r\nb\rc\n")
    assert plain_text(str(tmp_path / "text")) == "a\nb\nc\n"


def test_a_measurement_that_fails_leaves_the_backbone_free(
    load_tiny: Callable[..., Any], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> list[float]:
        raise DataError("no loss here.")

    backbone = load_tiny()
    monkeypatch.setattr("pedro_bench.runs.forgetting.loglikelihood", broken)
    with pytest.raises(DataError, match="no loss here"):
        PlainText(str(text), backbone, 64, batch_size=4)
    AdaptedModel(backbone, Unchanged(name="none", label="none")).remove()


def test_an_encoder_cannot_forget(
    tiny_folders: dict[str, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = arguments(tiny_folders["bert"], write_sst2(tmp_path / "data"))
    with pytest.raises(ConfigError, match="must be null with an encoder, which predicts no next"):
        grid.run(settings_of([*chosen, f"evaluation.forgetting={text}"]))
