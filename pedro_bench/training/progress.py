"""Progress: a bar with loss, tokens/s and time left for each training on a terminal; elsewhere a log line.

All of it goes to standard error; standard output belongs to results. A worker in a process of its own
sends what it would show to the command that started it, which shows all workers on one board.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

Event = Mapping[str, Any]
"""`title` and `total` of a training, and `step`, `loss` and `rate`, a `line` to print, or `ended`."""

SECONDS = 0.2
"""Least time between two steps of a training that a worker sends."""

_logger = logging.getLogger(__name__)
_send: Callable[[Event], None] | None = None


class Board:
    """Shows trainings on a terminal, where there is one, one bar each; use it in a `with` block."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._bars: dict[object, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not self.is_shown,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, worker: object, event: Event) -> None:
        """Show what a worker's training says."""
        if "line" in event:
            self._progress.console.print(event["line"], highlight=False, markup=False)
            return
        if worker in self._bars and (event.get("ended") or event["step"] == 0):
            self._progress.remove_task(self._bars.pop(worker))
        if event.get("ended"):
            return
        if worker not in self._bars:
            self._bars[worker] = self._progress.add_task(
                event["title"], total=event["total"], loss=float("nan"), rate=0.0
            )
        self._progress.update(
            self._bars[worker],
            completed=event["step"],
            loss=event.get("loss", float("nan")),
            rate=event.get("rate", 0.0),
        )

    @property
    def bars(self) -> list[Task]:
        """The bars that are shown."""
        return self._progress.tasks

    def follow(self, process: "subprocess.Popen[bytes]") -> list[threading.Thread]:
        """Show what a worker prints, if piped, in threads that end with it; return the threads."""

        def follow_events(stream: IO[bytes]) -> None:
            for line in stream:
                self.show(process.pid, _event_of(line) or _text_of(line))
            self.show(process.pid, {"ended": True})

        def follow_lines(stream: IO[bytes]) -> None:
            for line in stream:
                self.show(process.pid, _text_of(line))

        piped = ((process.stdout, follow_events), (process.stderr, follow_lines))
        threads = [
            threading.Thread(target=body, args=(stream,), daemon=True)
            for stream, body in piped
            if stream is not None
        ]
        for one in threads:
            one.start()
        return threads


def _text_of(line: bytes) -> Event:
    return {"line": line.decode("utf-8", "replace").rstrip("\n")}


def _event_of(line: bytes) -> Event | None:
    """Return the event that a worker sent, or None for anything else that was printed there."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    numbers = [found.get("total"), found.get("step"), found.get("loss", 0), found.get("rate", 0)]
    is_step = isinstance(found.get("title"), str) and all(
        type(one) in (int, float) for one in numbers
    )
    is_event = is_step or found.get("ended") is True or isinstance(found.get("line"), str)
    return found if is_event else None


def send_progress(stream: IO[str]) -> None:
    """Send what this process would show to who follows a stream, one JSON object a line."""
    global _send

    def send(event: Event) -> None:
        stream.write(json.dumps(event) + "\n")
        stream.flush()

    _send = send


class TrainingProgress:
    """Shows how far one phase of training (`pedro seed 0`) is; use it in a `with` block."""

    def __init__(self, title: str, total_steps: int, *, is_shown: bool = True) -> None:
        self._title = title
        self._total_steps = total_steps
        self._is_shown = is_shown
        self._board = Board() if is_shown and _send is None and sys.stderr.isatty() else None
        self._sent = 0.0

    def __enter__(self) -> Self:
        if self._board is not None:
            self._board.__enter__()
        self._show({"title": self._title, "total": self._total_steps, "step": 0})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._show({"ended": True})
        if self._board is not None:
            self._board.__exit__(kind, error, trace)

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Move the bar to a step."""
        if time.monotonic() - self._sent >= SECONDS or step == self._total_steps:
            self._sent = time.monotonic()
            own = {"title": self._title, "total": self._total_steps, "step": step}
            self._show({**own, "loss": loss, "rate": tokens_per_second})

    def evaluation(
        self, entry: Mapping[str, float], tokens_per_second: float, *, is_best: bool
    ) -> None:
        """Tell the outcome of one evaluation."""
        if not self._is_shown:
            return
        score = f", dev score {entry['dev_score']:.2f}" if "dev_score" in entry else ""
        line = (
            f"{self._title}: step {entry['step']:.0f} of {self._total_steps}, "
            f"train loss {entry['train_loss']:.4f}, dev loss {entry['dev_loss']:.4f}{score}"
            f"{' (best so far)' if is_best else ''}, {tokens_per_second:,.0f} tokens/s"
        )
        if self._board is None and _send is None:
            _logger.info("%s", line)
        self._show({"line": line})

    def _show(self, event: Event) -> None:
        if self._board is not None:
            self._board.show(self, event)
        elif _send is not None and self._is_shown:
            _send(event)
