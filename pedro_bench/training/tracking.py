"""Tracking: sends a run's curves and test scores to wandb, TensorBoard, MLflow or trackio.

A `Tracking` is configuration (`conf/tracking/*.yaml`); its `start` returns the `Tracker` of one run, which
calls its service (of `accelerate.tracking`) from a thread. None is imported before a run's first values. A
service that is slow, down or broken holds no run and fails none: values wait in a queue, the first failure is
logged, and the rest of the run is not tracked.
"""

import contextlib
import importlib.util
import logging
import netrc
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.records import RunRecord

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
    its curves, until `saved_folder.restart` removes it.

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
        if record.main_metric in record.metrics.get("dev", {}):
            values["best_dev_score"] = record.metrics["dev"][record.main_metric]
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


_LABELS = ("suite", "method", "task", "backbone", "key")
_CONNECT_SECONDS = 2.0
INIT_SECONDS = 30.0
"""How long wandb may try to open a run."""

Opened = tuple[Any, str]
"""A started tracker of `accelerate.tracking`, and the service's identifier of the run."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Configuration of a tracking service; checks itself.

    Attributes:
        name: The YAML's name.
    """

    name: str

    package: ClassVar[str | None] = None
    """Package that must be installed, or None."""

    takes_texts: ClassVar[bool] = True
    """Whether texts can be logged as numbers are."""

    def __post_init__(self) -> None:
        for part in fields(self):
            value, optional = getattr(self, part.name), part.default is None
            checks.text(f"tracking.{part.name}", value, optional=optional)

    def require_installed(self) -> None:
        """Check that the service's package is installed, without importing it.

        Raises:
            ConfigError: If it is not; names the extra to install.
        """
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"tracking={self.name} must have the package {self.package} installed, got none: "
                "install pedro_bench[tracking] or set tracking=none."
            )

    def start(self, record: RunRecord, folder: Path) -> Tracker:
        """Return the tracker of one run, from its record as it begins and its working folder."""
        return ServiceTracker(self, record, folder)

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        """Open a run of the service, or continue one.

        Args:
            record: The run's record as it begins.
            folder: The run's working folder.
            known: The service's identifier of the run that an earlier process opened, or None.
            step: The optimiser step that is logged next, None at the run's end.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class NoTracking(Tracking):
    """No tracking service: the record's history holds the curves."""

    name: str = "none"

    def start(self, record: RunRecord, folder: Path) -> Tracker:
        """Return a tracker that sends nothing."""
        return Tracker()


@dataclass(frozen=True, kw_only=True)
class TensorboardTracking(Tracking):
    """TensorBoard event files under `tensorboard/` in the run's working folder."""

    name: str = "tensorboard"

    package: ClassVar[str | None] = "tensorboard"

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        """Open an event file; what a killed process logged after its checkpoint is replaced."""
        from accelerate.tracking import TensorBoardTracker

        service = TensorBoardTracker("tensorboard", folder, purge_step=step)
        service.start()
        if known is None:
            rows = [f"| {name} | {value} |" for name, value in _described(record).items()]
            service.log({"config": "\n".join(["| key | value |", "|---|---|", *rows])}, step=0)
        return service, self.name


@dataclass(frozen=True, kw_only=True)
class WandbTracking(Tracking):
    """Weights & Biases, offline where there is no key or no network.

    `WANDB_MODE` wins where it is set. Offline runs lie in the working folder for `wandb sync`.

    Attributes:
        project: Project's name.
        entity: Team or user, or null for the account's default.
    """

    package: ClassVar[str | None] = "wandb"

    name: str = "wandb"
    project: str = "pedro_bench"
    entity: str | None = None

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        """Open a run: its group is the suite, its tags are method, task and backbone."""
        import wandb
        from accelerate.tracking import WandBTracker

        folder.mkdir(parents=True, exist_ok=True)
        mode = wandb_mode()
        service = WandBTracker(
            self.project,
            entity=self.entity,
            group=record.suite,
            tags=[tag[:64] for tag in (record.method, record.task, record.backbone)],
            name=record.stem,
            id=known,
            resume="allow" if known and mode == "online" else None,
            config=_described(record),
            dir=str(folder.absolute()),
            mode=mode,
            reinit="create_new",  # a run of the calling program stays as it is
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,  # an address may hold a login; the record has the commit
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,  # so that it is said
            ),
        )
        service.start()
        return service, service.tracker.id


@dataclass(frozen=True, kw_only=True)
class MlflowTracking(Tracking):
    """MLflow, at `MLFLOW_TRACKING_URI` or else where MLflow puts runs by itself.

    Attributes:
        project: Name of the experiment.
    """

    package: ClassVar[str | None] = "mlflow"
    takes_texts: ClassVar[bool] = False

    name: str = "mlflow"
    project: str = "pedro_bench"

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        """Open a run: suite, method, task, backbone and key are its tags."""
        import mlflow
        from accelerate.tracking import MLflowTracker

        service = MLflowTracker(self.project, run_name=record.stem, run_id=known)
        service.start()
        if known is None:
            mlflow.set_tags({name: getattr(record, name) for name in _LABELS})
            service.store_init_configuration(_described(record))
        return service, service.tracker.info.run_id


@dataclass(frozen=True, kw_only=True)
class TrackioTracking(Tracking):
    """trackio, at `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` where one is set, else on this machine.

    Attributes:
        project: Project's name.
    """

    package: ClassVar[str | None] = "trackio"

    name: str = "trackio"
    project: str = "pedro_bench"

    def open(self, record: RunRecord, folder: Path, known: str | None, step: int | None) -> Opened:
        """Open a run: its group is the suite; method, task, backbone and key are in its settings."""
        from accelerate.tracking import TrackioTracker

        service = TrackioTracker(
            self.project,
            name=record.stem,
            group=record.suite,
            config=_described(record),
            resume="allow" if known else "never",
        )
        service.start()
        return service, record.stem


def wandb_mode() -> str:
    """Return `WANDB_MODE` where set, else `online` with a key and a network, else `offline`."""
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        return chosen
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):  # no key, or nobody answers
        if os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators(host):
            socket.create_connection((host, 443), timeout=_CONNECT_SECONDS).close()
            return "online"
    return "offline"


def _described(record: RunRecord) -> dict[str, Any]:
    """Return labels, seed and configuration as one mapping; names of nested settings have dots."""
    own = {name: getattr(record, name) for name in (*_LABELS, "seed")}
    return own | dict(_flat(record.config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, bool | int | float) else str(value)
