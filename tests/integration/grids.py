"""Small real commands in processes of their own, for tests of grids and faults."""

import json
import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

from tests.integration.forked import perform

REPOSITORY = Path(__file__).resolve().parents[2]

_SERVER = get_context("forkserver")
"""Imports everything once; every process is a fork of it, at a small part of the cost of a new one."""
_SERVER.set_forkserver_preload(["tests.integration.forked"])


def write_sst2(folder: Path, train: int = 40, validation: int = 20) -> Path:
    """Write a tiny sst2 in JSONL; return the folder for `data.root`."""
    place = folder / "sst2"
    place.mkdir(parents=True)
    for name, count in (("train", train), ("validation", validation)):
        rows = [
            {"sentence": f"a {'good' if i % 2 else 'bad'} film {i}", "label": i % 2}
            for i in range(count)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def arguments(tiny: Path, data: Path, *more: str) -> list[str]:
    """Return overrides of a run that takes a second or two."""
    return [
        "task=sst2",
        "data=files",
        f"data.root={data}",
        "backbone=causal_lm",
        f"backbone.path={tiny}",
        "method=lora",
        "trainer.lr=0.01",
        "trainer.max_steps=4",
        "trainer.eval_every_steps=2",
        "evaluation.num_beams=1",
        "seeds=[0]",
        "output=json",
        *more,
    ]


def found(folder: Path, pattern: str) -> list[Path]:
    """Return what lies below a folder while a command works in it: Python 3.11 fails where a folder goes."""
    while True:
        try:
            return sorted(folder.rglob(pattern))
        except FileNotFoundError:
            continue


GATED = """
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.methods.lora import Lora


@dataclass(frozen=True, kw_only=True)
class Gated(Lora):
    def after_step(self, adapter, step, num_steps):
        Path("PLACE", f"step-{os.getpid()}").write_text(str(step))
        while step > 5 and not Path("PLACE", "go").exists():
            time.sleep(0.02)
"""


def write_gated(folder: Path) -> list[str]:
    """Write a method whose training stands still after step 6 until the file `go` is in a folder.

    Returns:
        Arguments that choose it. Each process keeps its present step in `step-<pid>` there.
    """
    (folder / "method").mkdir(parents=True)
    (folder / "gated.py").write_text(GATED.replace("PLACE", str(folder)))
    lora = (REPOSITORY / "conf" / "method" / "lora.yaml").read_text(encoding="utf-8")
    own = lora.replace("pedro_bench.methods.lora.Lora", "gated.Gated").replace(": lora", ": gated")
    (folder / "method" / "gated.yaml").write_text(own)
    return ["--config-dir", str(folder), "method=gated"]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of such a process."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **more,
    }


class Forked:
    """A `python -m pedro_bench` in a fork, to be used like a `Popen`.

    Args:
        folder: Where it runs.
        overrides: Its arguments.
        tmpfs: Options of a tmpfs that it has at `small` in its folder, or None.
        mebibytes: How much memory it may take beyond what the imports took, or None.
    """

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        tmpfs: str | None = None,
        mebibytes: int | None = None,
    ) -> None:
        self._folder = folder
        self._process = _SERVER.Process(
            target=perform, args=(str(folder), overrides, environment(), tmpfs, mebibytes)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, kind: int) -> None:
        os.kill(self.pid, kind)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("pedro_bench", timeout or 0)
        output, errors = (self._folder / f"{self.pid}.{kind}" for kind in ("out", "err"))
        return output.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")


def _heed_interrupts() -> None:
    """Undo what a shell does to what it starts in the background: SIGINT is ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *overrides: str, **variables: str) -> subprocess.Popen[str]:
    """Start `python -m pedro_bench` in a folder, from nothing, as from a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "pedro_bench", *overrides],
        preexec_fn=_heed_interrupts,
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str] | Forked, seconds: float = 900) -> tuple[int, str, str]:
    """Wait for such a process; return exit code, standard output and error."""
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, output, errors
