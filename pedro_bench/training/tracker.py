"""Trackers: the tracker of one run, which calls its service from a thread.

A service that is slow, down or broken holds no run and fails none: values wait in a queue, the first
failure is logged, and the rest of the run is not tracked.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pedro_bench.records import RunRecord

if TYPE_CHECKING:
    from pedro_bench.training.tracking import Tracking

_logger = logging.getLogger(__name__)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD")
_SHORTEST_SECRET = 8
FINISH_SECONDS = 60.0
"""How long a service may send what is left at a run's end."""

LEAVE_SECONDS = 5.0
"""The same if the run was interrupted."""


class Tracker:
    """Takes the curves and scores of one run; this class sends them nowhere."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take values at an optimiser step."""

    def finish(self, record: RunRecord) -> None:
        """Take the scores of a finished run, or the status of a failed one."""

    def close(self) -> None:
        """Send what is left."""


class ServiceTracker(Tracker):
    """Sends everything to a service from a thread, until the first failure, which is logged.

    The service's identifier of the run lies in the working folder, so that a resumed run continues
    its curves, until `working_folder.restart` removes it.

    Args:
        tracking: The service.
        record: The run's record as it begins.
        folder: The run's working folder.
    """

    def __init__(self, tracking: "Tracking", record: RunRecord, folder: Path) -> None:
        self._tracking, self._record, self._folder = tracking, record, folder
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._service: Any = None
        self._patience, self._stdout = LEAVE_SECONDS, sys.stdout
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send values; returns at once."""
        taken = dict(values)
        if self._thread.is_alive():
            self._calls.put(lambda: self._opened(step).log(taken, step=step))

    def finish(self, record: RunRecord) -> None:
        """Send scores, key and status; returns at once."""
        self._patience = FINISH_SECONDS
        self._calls.put(lambda: self._finish(record))

    def close(self) -> None:
        """Wait until everything is sent, for a bounded time."""
        self._calls.put(None)
        self._thread.join(self._patience + LEAVE_SECONDS)  # a service may have the same limit
        if self._thread.is_alive():
            sys.stdout = self._stdout
            self._report(f"it did not answer within {self._patience:g} seconds")

    def _work(self) -> None:
        try:
            for call in iter(self._calls.get, None):
                call()
            if self._service is not None:
                with contextlib.redirect_stdout(sys.stderr):
                    self._service.finish()
        except BaseException as error:  # noqa: BLE001 -- no failure of a service may end a run
            self._report(str(error))

    def _opened(self, first_step: int | None) -> Any:
        """Return the service's run, opened by the first call."""
        if self._service is None:
            from accelerate import PartialState

            PartialState()  # the trackers ask it which process this is
            path = self._folder / f"tracking-{self._tracking.name}"
            known = path.read_text(encoding="utf-8") if path.is_file() else None
            with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to results
                self._service, name = self._tracking.open(
                    self._record, self._folder, known, first_step
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")
        return self._service

    def _finish(self, record: RunRecord) -> None:
        if self._service is None and record.status != "finished":
            return  # it failed before its first step
        values: dict[str, Any] = {
            f"{split}/{metric}": value
            for split, metrics in record.metrics.items()
            for metric, value in metrics.items()
            if split != "dev"  # a curve of that name is there
        }
        if record.best_step is not None:
            values |= {
                "best_step": record.best_step,
                "best_dev_loss": record.metrics["dev"]["loss"],
            }
        if self._tracking.takes_texts:
            values |= {"key": record.key, "status": record.status}
        step = sum(phase.steps for phase in record.phases) or None
        self._opened(None).log(values, step=step)

    def _report(self, reason: str) -> None:
        name = self._tracking.name
        reason = _without_secrets(reason)
        _logger.warning("tracking=%s failed and is off for the rest of this run: %s", name, reason)


def _without_secrets(text: str) -> str:
    """Return a text without the values of secret environment variables and the logins of addresses."""
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return re.sub(r"://[^/\s@]+@", "://***@", text)
