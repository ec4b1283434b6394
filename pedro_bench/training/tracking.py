"""Tracking: sends a run's curves and test scores to wandb, TensorBoard, MLflow or trackio.

A `Tracking` is configuration (`conf/tracking/*.yaml`); its `start` returns the `Tracker` of one run. The
services are those of `accelerate.tracking`; none is imported before a run's first values.
"""

import contextlib
import importlib.util
import netrc
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.records import RunRecord
from pedro_bench.training import tracker
from pedro_bench.training.tracker import ServiceTracker, Tracker

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
                finish_timeout=tracker.FINISH_SECONDS,
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
