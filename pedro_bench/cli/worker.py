"""`python -m pedro_bench.cli.worker FOLDER`: one worker of a grid; commands start it, people do not."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench.cli.command import ends_on_signals, logs_to_stderr
from pedro_bench.cli.options import make_importable
from pedro_bench.distributed import SHARED_DEVICES
from pedro_bench.errors import ConfigError, PedroBenchError, sentence
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.workers import work
from pedro_bench.training.interruption import Interrupted
from pedro_bench.training.progress import send_progress

GPU_LEASE_SECONDS = 3600.0
"""Longer than a process may be stopped and go on; the death of one is seen at once."""


def pin_gpu(folder: Path) -> bool:
    """Give this process one of the machine's GPUs for itself, before torch looks for them.

    A launcher on a cluster (Slurm, Ray) does so itself. For processes of one machine, each leases the
    first GPU that no other has, whichever of this user's commands started it; that of a process that died
    is free again.

    Args:
        folder: The command's folder: the leases lie there, and hold for the command alone, where this
            user has no folder for temporary files.

    Returns:
        Whether there were several to choose from.

    Raises:
        ConfigError: If every GPU is held by another process.
        RecordError: If the folder of the leases cannot be written.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return False
    leases = _gpu_leases(folder)
    for gpu in gpus:
        name = f"gpu-{os.uname().nodename}-{gpu.replace('/', '_')}"  # MIG-<uuid>/<number>/<number>
        if leases.take(name) is not None:  # until this process ends
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return True
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
    place, setting = (own, "TMPDIR") if is_own else (folder, "output_dir")
    return Leases(place, GPU_LEASE_SECONDS, folder_setting=setting)


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    found = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    # CUDA counts the GPUs that it sees: a container that was given the last two has 0 and 1.
    return [str(number) for number in range(sum(map(str.isdecimal, found)))]


def main(arguments: Sequence[str]) -> int:
    """Do what is free of the grid that a command shares in a folder; return the exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder, own = Path(arguments[0]), sys.stdout
    try:
        with ends_on_signals(), logs_to_stderr():
            grid, shared = entered(folder)
            if shared["is_progress_shown"]:
                send_progress(own)
            devices = set(shared["shared_devices"])
            if shared["pins_gpu"] and pin_gpu(folder):
                devices.discard("cuda")
            os.environ[SHARED_DEVICES] = ",".join(sorted(devices))
            work(grid, waits=False)
    except PedroBenchError as error:
        sys.stderr.write(f"error: {sentence(error)}\n")
        return error.exit_code
    except Interrupted as error:
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def entered(folder: Path) -> tuple[Grid, dict[str, Any]]:
    """Go where a command was started; return the grid that it shares in a folder, and the rest of it."""
    shared = Grid.shared(folder)
    os.chdir(shared["cwd"])
    for place in shared["options"]:
        make_importable(Path(place))
    return Grid.read(folder), shared


def _end_with_parent() -> None:
    """Ask this process to end once standard input is closed: who started it is gone."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
