"""Leftovers: what a worker leaves that is killed after its run's record was finished.

Such a worker did not come to remove the run's checkpoints, nor to give its lease back; so the lease tells
that there may be checkpoints to remove. Those that `output.keep_checkpoints` kept have none, and stay.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from pedro_bench import records
from pedro_bench.errors import RecordError
from pedro_bench.grid.leases import Leases
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import status_of
from pedro_bench.training.working_folder import restart, working_folder


def clear_leftovers(settings: Settings, paths: Iterable[Path]) -> None:
    """Remove leases and checkpoints that killed workers left of finished runs.

    Args:
        settings: The runs' configuration.
        paths: Paths of the runs' records; those of other than finished runs are passed over.
    """
    suite = records.suite_folder(settings.results_dir, settings.suite)
    leases = Leases(suite, settings.lease_seconds)
    stems = leases.stems()
    for path in paths:
        if path.stem not in stems or status_of(path) != "finished":
            continue
        with contextlib.suppress(OSError, RecordError):  # a read-only folder: it stays as it is
            _clear(settings, leases, path)


def _clear(settings: Settings, leases: Leases, path: Path) -> None:
    """Hold the run meanwhile: another worker may be about to do it again."""
    lease = leases.take(path.stem)
    if lease is None:
        return
    is_finished = status_of(path) == "finished"
    try:
        if is_finished and not settings.keep_checkpoints:
            restart(working_folder(settings, path))
    finally:
        lease.release(is_done=is_finished)
