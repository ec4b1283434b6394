"""The tracker of a run: no service that is slow, down or broken holds the run or fails it."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.records import Phase, RunRecord
from pedro_bench.training import tracking as tracker_module
from pedro_bench.training.saved_folder import restart
from pedro_bench.training.tracking import Opened, ServiceTracker, Tracker, Tracking

OFF = "tracking=service failed and is off for the rest of this run: "


class Service:
    """Keeps what it takes, and does something else first at one of its calls."""

    def __init__(self, at: str = "", does: Callable[[], None] = lambda: None) -> None:
        self.at, self.does = at, does
        self.calls: list[str] = []
        self.logged: list[tuple[Mapping[str, Any], int | None]] = []
        self.known: str | None = None
        self.step: int | None = None
        self.threads: set[str] = set()

    def meet(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)
        if call == self.at:
            self.does()

    def log(self, values: Mapping[str, Any], step: int | None) -> None:
        self.meet("log")
        self.logged.append((values, step))

    def finish(self) -> None:
        self.meet("finish")


@dataclass(frozen=True, kw_only=True)
class ServiceTracking(Tracking):
    """Opens one service."""

    service: Any

    def __post_init__(self) -> None:
        pass

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        self.service.meet("open")
        self.service.known, self.service.step = known, step
        return self.service, "run-7"


def finished(record: RunRecord) -> RunRecord:
    phases = [Phase(trainable=1, steps=steps, best_step=2, stopped_early=False) for steps in (2, 3)]
    metrics = {"dev": {"loss": 0.5}, "test": {"accuracy": 75.0, "f1": 60.0}}
    return record.changed(
        status="finished", phases=phases, best_step=2, metrics=metrics, finished=record.started
    )


def fail(message: str = "quota exceeded") -> None:
    raise OSError(message)


def leave() -> None:
    raise SystemExit(3)


def start(service: Service, record: RunRecord, folder: Path) -> Tracker:
    return ServiceTracker(ServiceTracking(name="service", service=service), record, folder)


def use(service: Service, record: RunRecord, folder: Path) -> None:
    tracker = start(service, record, folder)
    for step in (1, 2):
        tracker.log({"train/loss": 1.0 / step}, step)
    tracker.finish(finished(record))
    tracker.close()


def test_curves_scores_key_and_status_arrive_in_order(record: RunRecord, tmp_path: Path) -> None:
    service = Service()
    use(service, record, tmp_path)
    assert service.calls == ["open", "log", "log", "log", "finish"]
    assert service.step == 1 and service.known is None
    assert service.logged[:2] == [({"train/loss": 1.0}, 1), ({"train/loss": 0.5}, 2)]
    end = {"best_step": 2, "best_dev_loss": 0.5, "key": "0123456789ab", "status": "finished"}
    assert service.logged[2] == ({"test/accuracy": 75.0, "test/f1": 60.0, **end}, 5)
    assert len(service.threads) == 1 and threading.current_thread().name not in service.threads


def test_the_score_that_chose_arrives_beside_its_loss(record: RunRecord, tmp_path: Path) -> None:
    service = Service()
    done = finished(record)
    dev = {**done.metrics["dev"], done.main_metric: 70.0}
    tracker = start(service, record, tmp_path)
    tracker.finish(done.changed(metrics={**done.metrics, "dev": dev}))
    tracker.close()
    values, _ = service.logged[-1]
    assert (values["best_dev_loss"], values["best_dev_score"]) == (0.5, 70.0)


@pytest.mark.fault(
    what="A tracking service fails while a run goes on",
    how="its call to open, log or finish raises, or asks the process to exit",
    lost="curves of that service; the record has them",
)
@pytest.mark.parametrize(
    ("at", "calls"),
    [
        ("open", ["open"]),
        ("log", ["open", "log"]),
        ("finish", ["open", "log", "log", "log", "finish"]),
    ],
)
@pytest.mark.parametrize(("does", "reason"), [(fail, "quota exceeded"), (leave, "3")])
def test_a_failure_is_logged_once_and_stops_nothing(
    at: str,
    calls: list[str],
    does: Callable[[], None],
    reason: str,
    record: RunRecord,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(at, does)
    use(service, record, tmp_path)
    assert service.calls == calls
    assert [one.getMessage() for one in caplog.records] == [OFF + reason]


@pytest.mark.fault(
    what="A tracking service does not answer",
    how="its call to open, log or finish blocks",
    lost="curves of that service; the run waits for it at its end alone, for a bounded time",
)
@pytest.mark.parametrize("at", ["open", "log", "finish"])
def test_a_service_that_does_not_answer_holds_no_run(
    at: str,
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracker_module, "FINISH_SECONDS", 0.2)
    monkeypatch.setattr(tracker_module, "LEAVE_SECONDS", 0.1)
    answers, own = threading.Event(), sys.stdout
    tracker = start(Service(at, lambda: answers.wait(60) and None), record, tmp_path)
    begun = time.monotonic()
    for step in range(1, 1000):
        tracker.log({"train/loss": 1.0}, step)
    tracker.finish(finished(record))
    tracker.close()
    assert time.monotonic() - begun < 10
    assert sys.stdout is own
    answers.set()
    assert OFF + "it did not answer within 0.2 seconds" in caplog.messages


def test_a_run_that_is_interrupted_waits_less(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_module, "LEAVE_SECONDS", 0.1)
    answers = threading.Event()
    tracker = start(Service("log", lambda: answers.wait(60) and None), record, tmp_path)
    tracker.log({"train/loss": 1.0}, 1)
    begun = time.monotonic()
    tracker.close()
    assert time.monotonic() - begun < 10
    answers.set()


def test_a_resumed_run_continues_and_one_that_starts_afresh_does_not(
    record: RunRecord, tmp_path: Path
) -> None:
    first, resumed, afresh = Service(), Service(), Service()
    tracker = start(first, record, tmp_path)
    tracker.log({"train/loss": 1.0}, 1)
    tracker.close()
    tracker = start(resumed, record, tmp_path)
    tracker.log({"train/loss": 1.0}, 7)
    tracker.close()
    assert (resumed.known, resumed.step) == ("run-7", 7)
    restart(tmp_path)
    use(afresh, record, tmp_path)
    assert first.known is None and afresh.known is None


def test_a_run_that_only_lacked_its_scores_adds_them(record: RunRecord, tmp_path: Path) -> None:
    use(Service(), record, tmp_path)
    service = Service()
    tracker = start(service, record, tmp_path)
    tracker.finish(finished(record))
    tracker.close()
    assert (service.known, service.step) == ("run-7", None)
    assert service.logged[0][0]["test/accuracy"] == 75.0


@pytest.mark.parametrize(("steps", "calls"), [(0, []), (1, ["open", "log", "log", "finish"])])
def test_a_failed_run_is_shown_if_it_began(
    steps: int, calls: list[str], record: RunRecord, tmp_path: Path
) -> None:
    service = Service()
    tracker = start(service, record, tmp_path)
    for step in range(steps):
        tracker.log({"train/loss": 1.0}, step + 1)
    tracker.finish(record.changed(status="failed", error="It broke.", finished=record.started))
    tracker.close()
    assert service.calls == calls
    assert service.logged[1:] == [({"key": record.key, "status": "failed"}, None)] * steps


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("401 for key-of-a-user at api", "401 for *** at api"),
        ("no route to https://me:pass@host:1/x", "no route to https://***@host:1/x"),
        ("no route to https://host/x", "no route to https://host/x"),
    ],
)
def test_no_secret_is_logged(
    message: str,
    shown: str,
    record: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "key-of-a-user")
    use(Service("log", lambda: fail(message)), record, tmp_path)
    assert caplog.messages == [OFF + shown]


def test_standard_output_is_left_to_results(
    record: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in ("open", "finish"):
        use(Service(at, lambda: sys.stdout.write("view this run\n") and None), record, tmp_path)
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == "view this run\n" * 2


def test_the_plain_tracker_sends_nothing(record: RunRecord, tmp_path: Path) -> None:
    tracker = Tracker()
    tracker.log({"dev/loss": 1.0}, 1)
    tracker.finish(finished(record))
    tracker.close()
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger(tracker_module.__name__).handlers == []
