"""Tracking: offline by itself, never a reason for a run to stop."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pedro_bench.errors import ConfigError
from pedro_bench.records import Phase, RunRecord
from pedro_bench.training import tracking as tracking_module
from pedro_bench.training.tracking import (
    MlflowTracking,
    NoTracking,
    TensorboardTracking,
    Tracking,
    TrackioTracking,
    WandbTracking,
    wandb_mode,
)


@pytest.mark.parametrize("name", ["none", "wandb", "tensorboard", "mlflow", "trackio"])
def test_every_yaml_builds_its_tracking(name: str, pytestconfig: pytest.Config) -> None:
    tracking = instantiate(OmegaConf.load(pytestconfig.rootpath / f"conf/tracking/{name}.yaml"))
    assert isinstance(tracking, Tracking)
    assert tracking.name == name


def test_a_missing_package_names_the_extra(tmp_path: Path) -> None:
    class Absent(NoTracking):
        package: ClassVar[str | None] = "package_that_is_not_there"

    with pytest.raises(
        ConfigError, match=r"package_that_is_not_there installed.*pedro_bench\[tracking\]"
    ):
        Absent(name="absent").require_installed()
    NoTracking().require_installed()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.project must be a text, not empty, got ''\."):
        WandbTracking(project="")
    with pytest.raises(ConfigError, match=r"tracking\.name must be a text, not empty, got ''\."):
        NoTracking(name="")
    with pytest.raises(ConfigError, match=r"tracking\.project must be a text, not empty, got 3: "):
        MlflowTracking(project=3)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"tracking\.project must be a text, not empty, got ' '\."
    ):
        TrackioTracking(project=" ")
    with pytest.raises(ConfigError, match=r"tracking\.entity must be a text or null, .*got ''\."):
        WandbTracking(entity="")
    assert WandbTracking(entity=None).entity is None


def test_wandb_is_offline_without_key_or_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.socket() as closed:  # bound but not listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", "https://127.0.0.1")
        assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_tensorboard_keeps_every_step_once(record: RunRecord, tmp_path: Path) -> None:
    """A killed process logged steps after its checkpoint; the resumed run replaces them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((1, 2, 3, 4), (3, 4, 5)):
        tracker = TensorboardTracking().start(record, tmp_path)
        for step in steps:
            tracker.log({"dev/loss": 1.0 / step}, step)
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("dev/loss")] == [1, 2, 3, 4, 5]
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| suite | table1 |" in config and "| method.r | 8 |" in config


class FakeRun:
    """What mlflow and trackio return for a run: its identifier, and what it was given."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.info = SimpleNamespace(run_id=given.get("run_id") or "new")
        self.rows: list[tuple[dict[str, Any], int | None]] = []
        self.closed = False

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.rows.append((values, step))

    def finish(self) -> None:
        self.closed = True


class FakeMlflow(ModuleType):
    """The functions of mlflow that accelerate calls."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[FakeRun] = []
        self.tags: dict[str, str] = {}
        self.params: dict[str, Any] = {}
        limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
        self.utils = SimpleNamespace(validation=limits)

    def search_experiments(self, filter_string: str) -> list[Any]:
        return [SimpleNamespace(experiment_id=filter_string)]

    def start_run(self, **given: Any) -> FakeRun:
        self.runs.append(FakeRun(**given))
        return self.runs[-1]

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags.update(tags)

    def log_params(self, params: dict[str, Any]) -> None:
        self.params.update(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.runs[-1].log(metrics, step)

    def end_run(self) -> None:
        self.runs[-1].finish()


LABELS = {
    "suite": "table1",
    "method": "pedro",
    "task": "boolq",
    "backbone": "micro",
    "key": "0123456789ab",
}
SCORES = {"test/accuracy": 75.0, "best_step": 2, "best_dev_loss": 0.5}


def use(tracking: Tracking, record: RunRecord, folder: Path) -> None:
    phases = [Phase(trainable=1, steps=2, best_step=2, stopped_early=False)]
    metrics = {"dev": {"loss": 0.5}, "test": {"accuracy": 75.0}}
    tracker = tracking.start(record, folder)
    tracker.log({"train/loss": 1.0}, 1)
    tracker.finish(
        record.changed(
            status="finished", phases=phases, best_step=2, metrics=metrics, finished=record.started
        )
    )
    tracker.close()


def test_mlflow_gets_tags_settings_curves_and_scores(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    use(MlflowTracking(project="mine"), record, tmp_path)
    assert mlflow.runs[0].given["experiment_id"] == "name = 'mine'"
    assert mlflow.runs[0].given["run_name"] == record.stem
    assert mlflow.tags == LABELS
    assert mlflow.params == LABELS | {"seed": 3, "method.r": 8, "method.roles": "['q', 'v']"}
    assert mlflow.runs[0].rows == [({"train/loss": 1.0}, 1), (SCORES, 2)]
    assert mlflow.runs[0].closed
    mlflow.params.clear()
    use(MlflowTracking(project="mine"), record, tmp_path)
    assert [run.given["run_id"] for run in mlflow.runs] == [None, "new"]
    assert mlflow.params == {}  # MLflow refuses other values of a run it has


def test_trackio_gets_group_settings_curves_and_scores(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[FakeRun] = []
    trackio = ModuleType("trackio")

    def init(**given: Any) -> FakeRun:
        runs.append(FakeRun(**given))
        return runs[-1]

    vars(trackio)["init"] = init
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    for _ in range(2):
        use(TrackioTracking(), record, tmp_path)
    assert [run.given["resume"] for run in runs] == ["never", "allow"]
    given = runs[0].given
    assert (given["project"], given["name"], given["group"]) == (
        "pedro_bench",
        record.stem,
        "table1",
    )
    assert given["config"].items() >= LABELS.items()
    end = SCORES | {"key": "0123456789ab", "status": "finished"}
    assert runs[0].rows == [({"train/loss": 1.0}, 1), (end, 2)]
    assert runs[0].closed


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    what="wandb down",
    how="online mode with a server that nobody answers at",
    lost="curves on wandb; the run goes on and the record has them",
)
def test_a_wandb_that_is_down_stops_nothing(
    record: RunRecord,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracking_module, "INIT_SECONDS", 5.0)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking_module, "LEAVE_SECONDS", 60.0)
    tracker = WandbTracking().start(record, tmp_path)
    tracker.log({"dev/loss": 1.0}, 1)
    tracker.close()
    assert "tracking=wandb failed and is off for the rest of this run" in caplog.text


LEAVING = """
import json, logging, os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from pedro_bench.records import RunRecord
from pedro_bench.training import tracking

RECORD = RunRecord(
    key="0123456789ab", status="running", method="pedro", task="boolq", backbone="micro",
    data="micro", suite="table1", seed=3, config={}, main_metric="accuracy", started="2026-11-28",
)
NAMES = {"id": "a", "name": "a", "displayName": "a", "config": "{}"}
RUN = {**NAMES, "project": {"name": "p", "entity": {"name": "e"}}}


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        bucket = {"bucket": RUN, "inserted": True}
        body = json.dumps({"data": {"upsertBucket": bucket}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer_once():
    server.handle_request()
    server.server_close()


server = HTTPServer(("127.0.0.1", 0), Answering)
threading.Thread(target=answer_once, daemon=True).start()
os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
logging.basicConfig(stream=sys.stdout)
tracking.FINISH_SECONDS = 5.0
tracking.LEAVE_SECONDS = 60.0
own = tracking.WandbTracking().start(RECORD, Path.cwd())
own.log({"dev/loss": 1.0}, 1)
own.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    what="wandb goes down while a run goes on",
    how="a server that answers when a run is opened and is gone afterwards",
    lost="curves on wandb, which wait on the disk for `wandb sync`; run and command end",
)
def test_a_wandb_that_goes_down_holds_no_process(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    own = {
        **os.environ,
        "PYTHONPATH": str(pytestconfig.rootpath),
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "0" * 40,
    }
    done = subprocess.run(
        [sys.executable, "-c", LEAVING],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "tracking=wandb failed and is off for the rest of this run: Timed out" in done.stdout
    assert list(tmp_path.glob("wandb/run-*/*.wandb"))
