"""Tracking: where a run's curves go while it trains.

A `Tracking` is configuration (`conf/tracking/*.yaml`); its `start` opens a `Tracker` for one run. A
broken tracking service never stops a run: the first failure is logged and the tracker falls silent.
"""

import importlib.util
import logging
import netrc
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from pedro_bench import checks
from pedro_bench.errors import ConfigError

_logger = logging.getLogger(__name__)
_CONNECT_SECONDS = 2.0
INIT_SECONDS = 30.0
"""How long wandb may try to open a run before the run goes on without it."""

FINISH_SECONDS = 60.0
"""How long it may send what is left at a run's end; the rest stays on the disk for `wandb sync`."""


class Tracker(Protocol):
    """Takes the curves of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take values at an optimiser step."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the final values and close."""


@dataclass(frozen=True, kw_only=True)
class Tracking(ABC):
    """Configuration of a tracking service; checks itself.

    Attributes:
        name: The YAML's name.
    """

    name: str

    package: ClassVar[str | None] = None
    """Package that must be installed, or None."""

    def __post_init__(self) -> None:
        checks.text("tracking.name", self.name)

    def require_installed(self) -> None:
        """Check that the service's package is there; cheap, imports nothing.

        Raises:
            ConfigError: If it is missing; names the extra to install.
        """
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"tracking={self.name} must have the package {self.package} installed, got none: "
                "install pedro_bench[tracking] or set tracking=none."
            )

    @abstractmethod
    def start(self, run_name: str, config: Mapping[str, Any], folder: Path) -> Tracker:
        """Open a tracker for one run.

        Args:
            run_name: The run's name, as its record's file name.
            config: The resolved configuration, as plain values.
            folder: The run's working folder, for local files.

        Raises:
            ConfigError: If the service's package is not installed.
        """


@dataclass(frozen=True, kw_only=True)
class NoTracking(Tracking):
    """No tracking service: the record's history holds the curves."""

    name: str = "none"

    def start(self, run_name: str, config: Mapping[str, Any], folder: Path) -> Tracker:
        """Open a tracker that keeps nothing."""
        return SilentTracker()


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

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.text("tracking.project", self.project)
        checks.text("tracking.entity", self.entity, optional=True)

    def start(self, run_name: str, config: Mapping[str, Any], folder: Path) -> Tracker:
        """Open a wandb run."""
        self.require_installed()

        def open_run() -> Tracker:
            import wandb

            folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=run_name,
                config=dict(config),
                dir=str(folder),
                mode=wandb_mode(),  # type: ignore[arg-type]
                reinit="finish_previous",  # that of a seed that failed
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    init_timeout=INIT_SECONDS,
                    finish_timeout=FINISH_SECONDS,
                    finish_timeout_raises=True,  # so that it is said
                ),
            )
            return _WandbTracker(run)

        return _guarded(self.name, open_run)


@dataclass(frozen=True, kw_only=True)
class TensorboardTracking(Tracking):
    """TensorBoard event files under `tensorboard/` in the run's working folder."""

    name: str = "tensorboard"

    package: ClassVar[str | None] = "tensorboard"

    def start(self, run_name: str, config: Mapping[str, Any], folder: Path) -> Tracker:
        """Open an event file."""
        self.require_installed()

        def open_writer() -> Tracker:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]
            writer.add_text("config", _as_table(config))  # type: ignore[no-untyped-call]
            return _TensorboardTracker(writer)

        return _guarded(self.name, open_writer)


class SilentTracker:
    """Keeps nothing."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep nothing."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Keep nothing."""


class GuardedTracker:
    """Passes everything on until the first failure, which it logs; then it is silent.

    Args:
        name: Name of the service, for the log.
        inner: The tracker that may fail.
    """

    def __init__(self, name: str, inner: Tracker) -> None:
        self._name = name
        self._inner: Tracker = inner

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Pass values on."""
        self._try(lambda: self._inner.log(values, step))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Pass the final values on and close."""
        self._try(lambda: self._inner.finish(summary))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 -- a service's failure of any kind must not end a run
            _log_failure(self._name, error)
            self._inner = SilentTracker()


class _WandbTracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(summary))
        self._run.finish()


class _TensorboardTracker:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.add_text("summary", _as_table(summary))
        self._writer.close()


def wandb_mode() -> str:
    """Return `WANDB_MODE` where set, else `online` with a key and a network, else `offline`."""
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        return chosen
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    return "online" if _has_key(host) and _is_reachable(host) else "offline"


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _is_reachable(host: str) -> bool:
    try:
        with socket.create_connection((host, 443), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _guarded(name: str, open_tracker: Callable[[], Tracker]) -> Tracker:
    try:
        return GuardedTracker(name, open_tracker())
    except Exception as error:  # noqa: BLE001 -- a service's failure of any kind must not end a run
        _log_failure(name, error)
        return SilentTracker()


def _log_failure(name: str, error: Exception) -> None:
    _logger.warning("tracking=%s failed and is off for the rest of this run: %s", name, error)


def _as_table(values: Mapping[str, Any]) -> str:
    return "\n".join(
        ["| key | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items())]
    )
