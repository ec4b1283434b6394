"""`python -m pedro_bench.cli.worker FOLDER`: one worker of a grid; commands start it, people do not."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench.cli.command import ends_on_signals, logs_to_stderr
from pedro_bench.cli.options import make_importable
from pedro_bench.errors import PedroBenchError
from pedro_bench.grid.gpus import pin_gpu
from pedro_bench.grid.grid import Grid, sentence
from pedro_bench.grid.worker import work
from pedro_bench.training.interruption import Interrupted
from pedro_bench.training.progress import send_progress


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
            if shared["pins_gpu"]:
                pin_gpu(folder)
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
