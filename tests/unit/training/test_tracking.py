"""Tracking: offline by itself, never a reason for a run to stop."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pedro_bench.errors import ConfigError
from pedro_bench.training import tracking as tracking_module
from pedro_bench.training.tracking import (
    GuardedTracker,
    NoTracking,
    TensorboardTracking,
    Tracking,
    WandbTracking,
    wandb_mode,
)


@pytest.mark.parametrize("name", ["none", "wandb", "tensorboard"])
def test_every_yaml_builds_its_tracking(name: str, pytestconfig: pytest.Config) -> None:
    tracking = instantiate(OmegaConf.load(pytestconfig.rootpath / f"conf/tracking/{name}.yaml"))
    assert isinstance(tracking, Tracking)
    assert tracking.name == name


def test_none_keeps_nothing(tmp_path: Path) -> None:
    tracker = NoTracking().start("run", {}, tmp_path)
    tracker.log({"dev/loss": 1.0}, 1)
    tracker.finish({})
    assert list(tmp_path.iterdir()) == []


class Failing:
    """A service that breaks at every call and counts them."""

    def __init__(self) -> None:
        self.calls = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.calls += 1
        raise OSError("quota exceeded")

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.calls += 1
        raise OSError("quota exceeded")


@pytest.mark.fault(
    what="A tracking service fails while a run goes on",
    how="its log call raises",
    lost="curves of that service; the record has them",
)
def test_a_failure_is_logged_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    inner = Failing()
    tracker = GuardedTracker("wandb", inner)
    with caplog.at_level(logging.WARNING):
        tracker.log({"a": 1.0}, 1)
        tracker.log({"a": 1.0}, 2)
        tracker.finish({})
    assert inner.calls == 1
    assert [record.getMessage() for record in caplog.records] == [
        "tracking=wandb failed and is off for the rest of this run: quota exceeded"
    ]


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


def test_wandb_writes_an_offline_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = WandbTracking().start("pedro--boolq", {"lr": 0.1}, tmp_path)
    tracker.log({"dev/loss": 1.0}, 1)
    tracker.finish({"best_step": 1})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_tensorboard_writes_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorboardTracking().start("pedro--boolq", {"lr": 0.1}, tmp_path)
    for step, loss in ((1, 1.5), (2, 1.25)):
        tracker.log({"dev/loss": loss}, step)
    tracker.finish({"best_step": 2})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("dev/loss")] == [
        (1, 1.5),
        (2, 1.25),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    what="wandb down",
    how="online mode with a server that nobody answers at",
    lost="curves on wandb; the run goes on and the record has them",
)
def test_a_wandb_that_is_down_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setattr(tracking_module, "INIT_SECONDS", 5.0)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracker = WandbTracking().start("pedro--boolq", {"lr": 0.1}, tmp_path)
    tracker.log({"dev/loss": 1.0}, 1)
    tracker.finish({"best_step": 1})
    assert "tracking=wandb failed and is off for the rest of this run" in caplog.text


LEAVING = """
import json, logging, os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from pedro_bench.training import tracking

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
tracker = tracking.WandbTracking().start("pedro--boolq", {"lr": 0.1}, Path.cwd())
tracker.log({"dev/loss": 1.0}, 1)
tracker.finish({"best_step": 1})
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
    pytest.importorskip("wandb")
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
