"""Launching: jobs of a sweep handed to one of Hydra's launchers, and what a job's process needs.

Hydra's own multirun would hand over every combination; here only those are that have something to do.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from pedro_bench.cli.command import one_sentence
from pedro_bench.cli.compose import launcher_config
from pedro_bench.cli.jobs import Combination, Sweep
from pedro_bench.errors import ConfigError
from pedro_bench.experiment.leases import Leases
from pedro_bench.training.interruption import ENDING, Interrupted, grace_after, taken_by

LEAVE = "leave"
"""Name of the file in a multirun's folder that says that the command was asked to end."""

STOP = "stop"
"""Name of the file there that says that a run failed, so with `fail_fast` no other shall begin."""

GPU_LEASE_SECONDS = 3600.0
"""Longer than a process may be stopped and go on; the death of one is seen at once."""

PACKAGES = {
    "hydra_joblib_launcher": "hydra-joblib-launcher",
    "hydra_submitit_launcher": "hydra-submitit-launcher",
    "hydra_ray_launcher": "hydra-ray-launcher",
}


def begun(folder: Path, number: int) -> Path:
    """Return the file that a job's process makes when it begins."""
    return folder / f"job{number}.begun"


def word_of(folder: Path, number: int) -> Path:
    """Return the file in which a job's process leaves what went wrong or is left."""
    return folder / f"job{number}.json"


def check_launcher(sweep: Sweep) -> None:
    """Require that the chosen launcher's package is installed.

    Raises:
        ConfigError: If it is not.
    """
    with launcher_config(sweep.arguments) as (_, config):
        target = str(config.hydra.launcher.get("_target_"))
        chosen = config.hydra.runtime.choices["hydra/launcher"]
    module = target.split(".")[1]
    if module in PACKAGES and not is_installed(module):
        raise ConfigError(
            f"hydra/launcher={chosen} must have the package {PACKAGES[module]} installed, got none: "
            "install pedro_bench[launchers] or leave hydra/launcher out."
        )


def is_installed(module: str) -> bool:
    """Whether a plugin of Hydra is there."""
    try:
        return find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # no plugin of Hydra at all
        return False


def launch(
    sweep: Sweep,
    combinations: Sequence[Combination],
    folder: Path,
    job: Callable[[Any], None],
) -> str | None:
    """Run jobs through the sweep's launcher; what breaks the launcher ends no more than it.

    Args:
        sweep: What chooses the launcher.
        combinations: The jobs, numbered from 0.
        folder: Where Hydra and the jobs leave files.
        job: What a job's process calls with its configuration.

    Returns:
        What broke the launcher, if anything did.
    """
    arguments = (*sweep.arguments, f"hydra.sweep.dir='{folder}'")
    with launcher_config(arguments) as (loader, config):
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
            task_function=job,
            config=config,
        )
        folder.mkdir(parents=True, exist_ok=True)
        is_joblib = "Joblib" in str(config.hydra.launcher._target_)
        try:
            with passed_on(folder, len(combinations)) if is_joblib else contextlib.nullcontext():
                launcher.launch([list(one.arguments) for one in combinations], initial_job_idx=0)
        except Exception as error:  # noqa: BLE001 - a worker that died; the summary tells which jobs
            return f"{type(error).__name__}: {one_sentence(error)}"
    return None


@contextlib.contextmanager
def passed_on(folder: Path, num_jobs: int) -> Iterator[None]:
    """Pass Ctrl-C and its like on to the processes of this one, and leave when their jobs have saved.

    joblib alone would kill them.

    Args:
        folder: The launch's folder.
        num_jobs: Its jobs.

    Raises:
        Interrupted: When a signal came, the jobs have ended or their grace and a little more is over.
    """

    def leave(number: int, _: FrameType | None) -> None:
        (folder.parent / LEAVE).touch()
        for one in multiprocessing.active_children():
            if one.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGTERM if number == signal.SIGINT else number)
        deadline = time.monotonic() + grace_after(number) + 2
        while time.monotonic() < deadline and any(map(is_at_work, range(num_jobs))):
            time.sleep(0.05)
        raise Interrupted(f"{signal.Signals(number).name} came.", 128 + number)

    def is_at_work(number: int) -> bool:
        return begun(folder, number).is_file() and not word_of(folder, number).is_file()

    with taken_by(leave, signal.SIGINT, *ENDING):
        yield


def pin_gpu(folder: Path) -> None:
    """Give this process one of the machine's GPUs for itself, before torch looks for them.

    A launcher on a cluster (Slurm, Ray) does so itself. For processes of one machine, each leases the
    first GPU that no other has, whichever of this user's commands started it; that of a process that died
    is free again.

    Args:
        folder: The sweep's folder: the leases lie there, and hold for the sweep alone, where this user
            has no folder for temporary files.

    Raises:
        ConfigError: If every GPU is held by another process.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return
    leases = _gpu_leases(folder)
    for gpu in gpus:
        name = f"gpu-{os.uname().nodename}-{gpu.replace('/', '_')}"  # MIG-<uuid>/<number>/<number>
        if leases.take(name) is not None:  # until this process ends
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
    raise ConfigError(
        f"hydra.launcher.n_jobs must be at most the number of free GPUs, got {len(gpus)} GPUs and a "
        f"process on each: set hydra.launcher.n_jobs={len(gpus)}, or fewer while another command has some."
    )


def _gpu_leases(folder: Path) -> Leases:
    """Return the leases of this machine's GPUs, which all commands of a user share."""
    own = Path(tempfile.gettempdir()) / f"pedro_bench-gpus-{os.getuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        is_own = own.lstat().st_uid == os.getuid()
    except OSError:
        is_own = False
    return Leases(own if is_own else folder, GPU_LEASE_SECONDS)


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    found = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    # CUDA counts the GPUs that it sees: a container that was given the last two has 0 and 1.
    return [str(number) for number in range(sum(map(str.isdecimal, found)))]
