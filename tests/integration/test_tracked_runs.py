"""Whole runs with a tracker: its service shows what the record says."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import grid
from pedro_bench.__main__ import main
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.training import tracking
from pedro_bench.training.loop import TrainingLoop
from tests.integration.grids import arguments, write_sst2

BLOCK = 32768
LAST_PARTS = (1, 4)
"""Kinds of a part that ends an entry of a .wandb file, which is a log of LevelDB's form."""


@pytest.fixture
def overrides(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"), "suite=mine")


def entries(path: Path) -> Iterator[Any]:
    """Yield the entries of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, body = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        body += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in LAST_PARTS:
            entry = Record()
            entry.ParseFromString(body)
            yield entry
            body = b""


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_an_offline_wandb_run_shows_the_record(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (record,) = grid.run(settings_of([*overrides, "tracking=wandb"]))
    assert record["status"] == "finished", record["error"]
    (path,) = tmp_path.glob("outputs/mine/*/wandb/offline-run-*/*.wandb")
    found = list(entries(path))
    (run,) = [one.run for one in found if one.HasField("run")]
    assert (run.project, run.run_group) == ("pedro_bench", "mine")
    assert set(run.tags) == {"lora", "sst2", "causal_lm"}
    assert run.display_name == path.parents[2].name
    config = values(run.config.update)
    assert (config["key"], config["seed"], config["method.name"]) == (record["key"], 0, "lora")
    rows = [values(one.history.item) for one in found if one.HasField("history")]
    curve = {row["_step"]: row["dev/loss"] for row in rows if "dev/loss" in row}
    assert curve == {entry["step"]: entry["dev_loss"] for entry in record["history"]}
    summary: dict[str, Any] = {}
    for one in found:
        if one.HasField("summary"):
            summary |= values(one.summary.update)
    assert summary["key"] == record["key"]
    assert summary["status"] == "finished"
    for metric, score in record["metrics"]["test"].items():
        assert summary[f"test/{metric}"] == score


def test_tensorboard_shows_the_record_of_a_run_that_was_killed_and_resumed(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(tracking, "LEAVE_SECONDS", 60.0)
    settings = settings_of([*overrides, "tracking=tensorboard"])
    evaluates = TrainingLoop._evaluate

    def breaks_off(loop: TrainingLoop) -> bool:
        if loop.state.step == 4:
            raise KeyboardInterrupt
        return evaluates(loop)

    monkeypatch.setattr(TrainingLoop, "_evaluate", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        grid.run(settings)
    monkeypatch.setattr(TrainingLoop, "_evaluate", evaluates)
    (record,) = grid.run(settings)
    assert record["status"] == "finished", record["error"]
    (folder,) = tmp_path.glob("outputs/mine/*/tensorboard")
    assert len(list(folder.iterdir())) == 2
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    curve = {event.step: event.value for event in events.Scalars("dev/loss")}
    known = {entry["step"]: entry["dev_loss"] for entry in record["history"]}
    assert curve == pytest.approx(known, rel=1e-6)
    for metric, score in record["metrics"]["test"].items():
        (event,) = events.Scalars(f"test/{metric}")
        assert event.value == pytest.approx(score, rel=1e-6)
        assert event.step == 4
    key = events.Tensors("key/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert key == record["key"]


@pytest.mark.parametrize("seeds", ["[0]", "[0,1,2]"])
def test_an_absent_package_is_refused_and_nothing_is_written(
    seeds: str,
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "pedro_bench.training.tracking.MlflowTracking.package", "package_that_is_not_there"
    )
    assert main([*overrides, "tracking=mlflow", f"seeds={seeds}", "workers=1"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "tracking=mlflow must have the package" in line
    assert "pedro_bench[tracking]" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_command_of_many_seeds_leaves_nothing_and_no_torch(tmp_path: Path) -> None:
    done = run_alone(
        "from pedro_bench.__main__ import main; "
        "assert main(['method=pedro', 'task=boolq', 'tracking=mlflow']) == 2",
        tmp_path,
    )
    assert done.splitlines()[-1] == "set()", done
    assert "tracking=mlflow must have the package mlflow installed" in done
    assert list(tmp_path.iterdir()) == []


def run_alone(code: str, folder: Path) -> str:
    """Run code in a process of its own; return its errors, then what heavy modules it imported."""
    heavy = "{'wandb', 'tensorboard', 'accelerate', 'torch', 'mlflow', 'trackio'}"
    return subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; sys.exit(str({heavy} & {{*sys.modules}}))"],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    ).stderr


@pytest.mark.parametrize(
    "code",
    [
        "import pedro_bench",
        "from pedro_bench.__main__ import main; assert main(['tracking=wandb', 'seeds=-1']) == 2",
        "from pedro_bench.__main__ import main; assert main(['tracking=wandbb']) == 2",
        "from pedro_bench.__main__ import main; assert main(['tracking=wandb', 'tracking.x=1']) == 2",
    ],
)
def test_neither_the_import_nor_a_refusal_loads_a_tracker(code: str, tmp_path: Path) -> None:
    done = run_alone(code, tmp_path)
    assert done.splitlines()[-1] == "set()", done
