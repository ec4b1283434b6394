"""Runs whose best adapter is chosen by the task's main metric on the dev rows."""

import json
from pathlib import Path
from typing import Any

import pytest

import pedro_bench
from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import DataError
from pedro_bench.grid import run
from pedro_bench.training.state import stopping_rows
from tests.integration.grids import arguments, write_sst2


def trained(folder: Path, data: Path, *more: str) -> tuple[list[str], dict[str, Any]]:
    """Run a configuration in this process; return its overrides and its record."""
    given = arguments(folder, data, "workers=1", "trainer.patience=null", *more)
    given = [*given, "trainer.metric_for_best_model=main_metric"]
    run(settings_of(given))
    (path,) = records.find("results")
    return given, json.loads(path.read_text()) | {"path": str(path)}


def test_the_least_metric_chooses_where_the_task_says_so(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, record = trained(
        tiny_folders["llama"],
        write_sst2(tmp_path / "data"),
        "trainer.max_steps=8",
        "trainer.lr=0.05",
        "task.lower_is_better=true",
    )
    scores = [one["dev_score"] for one in record["history"]]
    assert record["metrics"]["dev"]["acc"] == min(scores) < max(scores)
    assert record["config"]["task"]["lower_is_better"] is True


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_record_tells_the_metric_that_chose(
    family: str, tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, record = trained(tiny_folders[family], write_sst2(tmp_path / "data"), "trainer.max_steps=8")
    scores = [one["dev_score"] for one in record["history"]]
    assert len(scores) == 4
    assert record["metrics"]["dev"]["acc"] == max(scores)
    best = record["history"][scores.index(max(scores))]
    assert record["best_step"] == best["step"]
    assert record["metrics"]["dev"]["loss"] == best["dev_loss"]


def test_the_metric_is_that_of_the_dev_rows(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved adapter answers the dev prompts, and its accuracy is counted by hand."""
    monkeypatch.chdir(tmp_path)
    given, record = trained(
        tiny_folders["llama"],
        write_sst2(tmp_path / "data", train=80),
        *("trainer.max_steps=12", "trainer.lr=0.05", "trainer.eval_rows=11"),
    )
    settings = settings_of(given)
    dev = load_splits(settings.task, settings.data).dev.examples
    assert len(dev) > 11
    said = pedro_bench.load(record["path"]).generate([one.prompt for one in dev])
    right = [text.startswith(one.answer) for text, one in zip(said, dev, strict=True)]
    chosen = stopping_rows(right, 11)
    assert sum(chosen) > 0, "an untrained model answers nothing"
    assert record["metrics"]["dev"]["acc"] == pytest.approx(100 * sum(chosen) / 11)


def test_dev_rows_that_do_not_fit_are_named(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their own short answers they fit, but not with the room that an answer is given."""
    monkeypatch.chdir(tmp_path)
    data = write_sst2(tmp_path / "data")
    train = data / "sst2" / "train.jsonl"  # of which the dev rows are taken
    train.write_text(train.read_text().replace("film", "film of the sort that goes on and on"))
    short = ("trainer.max_length=27", "task.max_new_tokens=12")
    with pytest.raises(
        DataError, match=r"^split dev of task sst2, of the rows that are answered: "
    ):
        trained(tiny_folders["llama"], data, *short)
    assert not [one for one in Path("results").rglob("*") if one.is_file()]
