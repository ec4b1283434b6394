"""A worker: takes any run of a grid that is due and free, one after another, until none is left."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from pedro_bench.errors import PedroBenchError
from pedro_bench.grid.claims import LONGEST_PAUSE, Claims
from pedro_bench.grid.grid import Grid
from pedro_bench.protocols.settings import Settings
from pedro_bench.ranks import is_main, meet
from pedro_bench.runs.processes import agreed_due, made_ready, reasons_told, refuse_splitting
from pedro_bench.training.interruption import TakenOver
from pedro_bench.training.tracking import NoTracking

OnRecord = Callable[[dict[str, Any]], None]

_logger = logging.getLogger(__name__)


def run(settings: Settings, *, on_record: OnRecord | None = None) -> list[dict[str, Any]]:
    """Train, score and record every seed that is due in this process, and wait for those that others have.

    What is wrong before the first training step (data, backbone, method) raises and leaves nothing
    behind; what goes wrong later becomes a `failed` record, and the next seed goes on, or with
    `settings.fail_fast` none. A run that another worker has is left to it; if that worker dies, it is
    done here.

    Args:
        settings: One configuration.
        on_record: Called with each record as soon as it is known.

    Returns:
        The records that are there, in order of the seeds.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    grid = Grid.planned([((), settings)])
    told = set()

    def tell(record: dict[str, Any]) -> None:
        told.add(record["seed"])
        if on_record is not None:
            on_record(record)

    try:
        work_on(grid, 0, on_record=tell)
    finally:
        grid.remove()
    grid.clear_leftovers()
    found = grid.records(0)
    for record in found:
        if record["seed"] not in told:
            tell(record)
    return found


def work(grid: Grid, *, waits: bool) -> None:
    """Do every due run of a grid that is free; what keeps a configuration from being run is told there.

    Args:
        grid: The grid.
        waits: Whether to wait for runs that other workers have, and do those that they give up.

    Raises:
        Interrupted: If this process was asked to leave.
    """
    while True:
        for number in range(len(grid.configurations)):
            if grid.configurations[number].due and grid.error(number) is None:
                try:
                    work_on(grid, number, waits=False)
                except Exception as error:  # noqa: BLE001 - told; the other configurations go on
                    if not isinstance(error, PedroBenchError):
                        sys.excepthook(type(error), error, error.__traceback__)
                    grid.tell(number, error)
        free, holders = grid.look()
        if not waits or not (free or holders):
            return
        if not free:
            time.sleep(min(grid.configurations[0].settings.lease_seconds / 3, LONGEST_PAUSE))


def work_on(
    grid: Grid, number: int, *, on_record: OnRecord | None = None, waits: bool = True
) -> None:
    """Do the runs of one configuration that are due and free.

    Args:
        grid: The grid.
        number: The configuration's place in it.
        on_record: Called with each record as soon as it is written.
        waits: Whether to wait for runs that other workers have, and do those that they give up.

    Raises:
        PedroBenchError: If the configuration cannot be run at all.
    """
    refuse_splitting()
    settings = grid.configurations[number].settings
    meet(settings.meeting_seconds)
    due = agreed_due(list(grid.configurations[number].due))
    if due:
        settings.check_room()
        settings.tracking.require_installed()
    if not is_main():
        settings = replace(settings, tracking=NoTracking())
    claims = Claims(settings, due, grid.seen, grid.name, lambda: grid.is_stopped)
    try:
        for record in _done(settings, claims, waits=waits):
            if on_record is not None:
                on_record(record)
            if settings.fail_fast and record["status"] == "failed":
                grid.stop()
    finally:
        claims.give_back()


def _done(settings: Settings, claims: Claims, *, waits: bool) -> Iterator[dict[str, Any]]:
    """Yield the record of every run that this worker gets to do."""
    while True:
        try:
            first = next(claims, None)
            if first is not None:
                from pedro_bench.runs.runner import run_seeds

                due = made_ready(settings, claims, chain([first], claims))
                with reasons_told(settings, claims):
                    yield from run_seeds(settings, due, claims.check)
        except TakenOver:
            if not claims.is_lost:
                raise
            _logger.warning("a run was taken over by another worker and is left to it.")
            continue
        if not (waits and claims.left):
            return
        claims.wait()
