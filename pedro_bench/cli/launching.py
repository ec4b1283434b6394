"""Launching: jobs of a sweep handed to one of Hydra's launchers, and what a job's process needs.

Hydra's own multirun would hand over every combination; here only those are that have something to do.
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from pedro_bench.cli.command import one_sentence
from pedro_bench.cli.compose import launcher_config
from pedro_bench.cli.jobs import Combination, Sweep
from pedro_bench.errors import ConfigError

PACKAGES = {
    "hydra_joblib_launcher": "hydra-joblib-launcher",
    "hydra_submitit_launcher": "hydra-submitit-launcher",
    "hydra_ray_launcher": "hydra-ray-launcher",
}


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
        try:
            launcher.launch([list(one.arguments) for one in combinations], initial_job_idx=0)
        except Exception as error:  # noqa: BLE001 - a worker that died; the summary tells which jobs
            return f"{type(error).__name__}: {one_sentence(error)}"
    return None


def pin_gpu(folder: Path) -> None:
    """Give this process one of the machine's GPUs for itself, before torch looks for them.

    A launcher on a cluster (Slurm, Ray) does so itself. For processes of one machine, each claims the
    first GPU that no other has, by creating a file that must not exist yet.

    Args:
        folder: The sweep's folder, which all its processes share.

    Raises:
        ConfigError: If there are more processes than GPUs.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for gpu in gpus:
        place = folder / f"gpu-{os.uname().nodename}-{gpu}"
        try:
            place.touch(exist_ok=False)
        except FileExistsError:
            continue
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return
    raise ConfigError(
        f"hydra.launcher.n_jobs must be at most the number of GPUs, got more than {len(gpus)}: set "
        f"hydra.launcher.n_jobs={len(gpus)}."
    )


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    found = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return sorted((name for name in found if name.isdecimal()), key=int)
