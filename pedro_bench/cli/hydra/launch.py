"""Launchers: Hydra's plug-ins (joblib, Slurm, Ray) start equal workers of one shared grid.

What a launcher starts is `start_worker`, which keeps one worker process going where the launcher put it. So a
worker that dies takes no launcher with it, and a launcher that gives up is asked again as long as the grid
gets further.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pedro_bench.cli.hydra.compose import HYDRA_VERSION_BASE, compose, composer, search_path
from pedro_bench.cli.options import conf_folder
from pedro_bench.cli.worker import entered
from pedro_bench.errors import ConfigError, sentence
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.leases import seconds_between_looks
from pedro_bench.grid.workers import number_of_workers, run_workers
from pedro_bench.training.interruption import ENDING, Interrupted, grace_after, taken_by

PACKAGES = {
    "hydra_joblib_launcher": "hydra-joblib-launcher",
    "hydra_submitit_launcher": "hydra-submitit-launcher",
    "hydra_ray_launcher": "hydra-ray-launcher",
}
MOST_IN_VAIN = 2
"""How often a launcher is asked in a row without the grid getting any further."""

MOST_WORKERS = 16
"""How many workers a launcher starts that sets no bound of its own."""


class Launcher:
    """The launcher that overrides of Hydra's own node choose, if any."""

    def __init__(self, overrides: Sequence[str]) -> None:
        own = [one for one in overrides if one.lstrip("+~").startswith(("hydra.", "hydra/"))]
        self._own = [one for one in own if "hydra.sweeper" not in one]  # what the grid is made of
        self._target, self._most = "", MOST_WORKERS
        if not self._own:
            return
        with composer():
            config = compose(["grid=''", "hydra.mode=MULTIRUN", *self._own], name="worker")
            self._target = str(config.hydra.launcher._target_)
            chosen = config.hydra.runtime.choices["hydra/launcher"]
            self._most = _most_of(config.hydra.launcher)
        module = self._target.split(".")[1]
        if module in PACKAGES and not is_installed(module):
            raise ConfigError(
                f"hydra/launcher={chosen} must have the package {PACKAGES[module]} installed, got none: "
                "install pedro_bench[launchers] or leave hydra/launcher out."
            )

    @property
    def is_chosen(self) -> bool:
        """Whether workers are to be started by a plug-in."""
        return self._target != "" and "BasicLauncher" not in self._target

    @property
    def is_local(self) -> bool:
        """Whether workers are processes of this machine, which have to share its GPUs out."""
        return not self.is_chosen or "Joblib" in self._target

    def number_of_workers(self, grid: Grid) -> int:
        """Return how many workers are started at a time, by the launcher or else on this machine."""
        return number_of_workers(grid, self._most if self.is_chosen else None)

    def shared_devices(self, number: int) -> list[str]:
        """Return the kinds of device that several of so many workers may be at, before GPUs are shared out.

        Slurm and Ray give each worker a GPU; the processors of a node may be another's too.
        """
        if number < 2:
            return []
        is_on_one_machine = self.is_local or "LocalLauncher" in self._target
        return ["cpu", "cuda"] if is_on_one_machine else ["cpu"]

    def run(self, grid: Grid) -> None:
        """Have the grid worked on until no run is left, or the launcher gets it no further.

        Raises:
            Interrupted: If this process was asked to end.
        """
        number, in_vain = number_of_workers(grid, self._most), 0
        while in_vain < MOST_IN_VAIN and number > len(grid.given_up) and any(grid.look()):
            before = grid.progress
            with _passed_on(grid) if self.is_local else contextlib.nullcontext():
                broken = self._start(grid, number - len(grid.given_up))
            while (state := grid.look())[1] and not state[0]:
                time.sleep(seconds_between_looks(grid.configurations[0].settings.lease_seconds))
            if not state[0]:
                return
            in_vain = 0 if grid.progress > before else in_vain + 1
            if in_vain == MOST_IN_VAIN:
                reason = "see the launcher's own log" if broken is None else f"it said {broken}"
                grid.give_up("launcher", f"the launcher's workers ended without a result; {reason}")

    def _start(self, grid: Grid, number: int) -> str | None:
        """Have so many workers started, and wait for them; return what broke the launcher, if anything."""
        workers = ",".join(map(str, range(number)))
        folder = json.dumps(str(grid.folder), ensure_ascii=False)
        own = [f"grid={folder}", f"worker={workers}", *search_path(), *self._own]
        argv, sys.argv = sys.argv, ["worker", "--multirun", *own]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error and ends the process
        try:
            start: Callable[[], Any] = hydra.main(
                version_base=HYDRA_VERSION_BASE,
                config_path=str(conf_folder()),
                config_name="worker",
            )(start_worker)
            start()
        except Exception as error:  # noqa: BLE001 - a worker that died; the grid knows what is left
            return sentence(error)
        finally:
            sys.argv = argv
        return None


def start_worker(config: DictConfig) -> None:
    """Keep one worker at work where a launcher put this process, until it finds nothing more to do."""
    grid, shared = entered(Path(str(config.grid)))
    variables: dict[str, str | None] = {}
    if _is_joblib():  # it sets the threads of its processes
        own = (name for name in os.environ if name.endswith("_NUM_THREADS"))
        variables = {**dict.fromkeys(own), **shared["threads"]}
    try:
        run_workers(grid, 1, waits=False, **variables)
    except Interrupted as error:
        if error.exit_code == 128 + signal.SIGTERM and not grid.is_left:
            grid.give_up(
                f"launched-{os.getpid()}", f"interrupted, {error} The same command goes on there."
            )


def _is_joblib() -> bool:
    return "Joblib" in str(HydraConfig.get().launcher._target_)


def _most_of(launcher: DictConfig) -> int:
    """Return how many workers a launcher has at a time, by its own settings."""
    bound = launcher.get("n_jobs") or launcher.get("array_parallelism") or MOST_WORKERS
    return int(bound) if int(bound) > 0 else os.cpu_count() or 1


def is_installed(module: str) -> bool:
    """Whether a plug-in of Hydra is there."""
    try:
        return find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # no plug-in of Hydra at all
        return False


@contextlib.contextmanager
def _passed_on(grid: Grid) -> Iterator[None]:
    """Let a signal to this process ask the workers to save and end: joblib alone would kill them.

    Raises:
        Interrupted: When a signal came, the runs are given back or the workers' grace is over.
    """

    def leave(kind: int, _: FrameType | None) -> None:
        held = grid.look()[1]
        grid.leave()
        deadline = time.monotonic() + grace_after(kind) + 2
        while time.monotonic() < deadline and held & grid.holders():
            time.sleep(0.1)
        raise Interrupted(f"{signal.Signals(kind).name} came.", 128 + kind)

    with taken_by(leave, signal.SIGINT, *ENDING):
        yield
