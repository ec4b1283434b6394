"""GPUs of one machine, one for each worker."""

import os
import tempfile
from pathlib import Path

from pedro_bench.errors import ConfigError
from pedro_bench.grid.leases import Leases

GPU_LEASE_SECONDS = 3600.0
"""Longer than a process may be stopped and go on; the death of one is seen at once."""


def pin_gpu(folder: Path) -> None:
    """Give this process one of the machine's GPUs for itself, before torch looks for them.

    A launcher on a cluster (Slurm, Ray) does so itself. For processes of one machine, each leases the
    first GPU that no other has, whichever of this user's commands started it; that of a process that died
    is free again.

    Args:
        folder: The command's folder: the leases lie there, and hold for the command alone, where this
            user has no folder for temporary files.

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
        f"workers must be at most the number of free GPUs, got {len(gpus)} GPUs and a process on each: "
        f"set workers={len(gpus)} (or hydra.launcher.n_jobs), or fewer while another command has some."
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
