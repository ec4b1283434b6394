"""Sharing: the runs of one configuration that this worker gets, one after another.

A run is taken by a lease (`leases.py`). Whoever has taken one looks at its record again, since another
worker may have done it in between. With `accelerate launch` the main process takes, and tells the others.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pedro_bench import files, records
from pedro_bench.errors import ConfigError, DamagedRecordError, RecordError
from pedro_bench.experiment.leases import Lease, Leases
from pedro_bench.protocols.settings import Settings
from pedro_bench.ranks import is_main, is_on, is_one_of_several, launch, partial_state
from pedro_bench.records import RunRecord
from pedro_bench.training.interruption import interruption

LONGEST_PAUSE = 5.0
"""Seconds between two looks at a run that another worker has."""

SHARDING = "ACCELERATE_USE_FSDP"
"""What `accelerate launch --use_fsdp` sets: the frozen layers are split over processes (`nn/sharding.py`)."""
SPLITTING = (
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_MEGATRON_LM",
    "FSDP_OFFLOAD_PARAMS",
    "FSDP_ACTIVATION_CHECKPOINTING",
)
"""What it sets for other ways of splitting, which nothing here does."""

_logger = logging.getLogger(__name__)


class Claims(Iterator[tuple[int, Path]]):
    """Iterates over seed and record of the runs that are this worker's; each is held until the next.

    Args:
        settings: The configuration.
        due: Seed and path of the record, for each run to do.
        seen: What `digests` said when the command began.

    Attributes:
        left: Those that are not done, but for the one at hand.
        current: Path of the record of the one at hand, in every process that shares it.
    """

    def __init__(
        self, settings: Settings, due: Sequence[tuple[int, Path]], seen: Mapping[str, str]
    ) -> None:
        self.left = list(due)
        self.settings = settings
        folder = records.suite_folder(settings.results_dir, settings.suite)
        self.leases = Leases(folder, settings.lease_seconds)
        self.current: Path | None = None
        self._seen = seen
        self._held: tuple[int, Path, Lease] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the run that is held was taken away by another worker, and others may be taken."""
        is_lost = self._held is not None and self._held[2].is_lost
        return is_lost and not is_one_of_several()

    def check(self) -> None:
        """Go on only with a run that is still this worker's: to be called before its files are written.

        Raises:
            Interrupted: If another worker has taken it, or this process was asked to leave.
        """
        if self._held is not None:
            self._held[2].look()
        interruption.leave_if_asked()

    def __next__(self) -> tuple[int, Path]:
        """Give the run before back and take one that is free; those that others have stay `left`."""
        self.give_back()
        self.current = None
        seed = self._take() if is_main() else None
        seed, left = _agreed((seed, [one for one, _ in self.left]))
        claims = {one: (one, path) for one, path in self.left}
        self.left = [claims[one] for one in left if one != seed]
        if seed is None:
            raise StopIteration
        self.current = claims[seed][1]
        return claims[seed]

    def give_back(self) -> None:
        """Give back the run that is held, if any; one that was taken away is left to its holder."""
        if self._held is not None:
            seed, path, lease = self._held
            self._held = None
            is_done = False
            try:
                is_done = status_of(path) in (None, "finished")  # None: it never began
            finally:
                lease.release(is_done=is_done)
            if lease.is_lost:
                interruption.forget()
                self.left.append((seed, path))

    def wait(self) -> None:
        """Let other workers go on for a while."""
        time.sleep(min(self.settings.lease_seconds / 3, LONGEST_PAUSE))

    def _take(self) -> int | None:
        for seed, path in list(self.left):
            lease = self.leases.take(path.stem, self._on_loss)
            if lease is None:
                continue
            self._held = (seed, path, lease)
            if not self._was_done(path):
                if path.is_file() and status_of(path) is None:
                    records.set_aside(path)
                return seed
            self.give_back()
            self.left.remove((seed, path))
        return None

    def _was_done(self, path: Path) -> bool:
        """Whether a worker has ended this run since the command began."""
        if _digest(path) == self._seen.get(str(path.absolute()), ""):
            return False
        return status_of(path) in ("finished", "failed")

    @staticmethod
    def _on_loss() -> None:
        interruption.ask("another worker has taken the run over.", saves=False)


def status_of(path: Path) -> str | None:
    """Return the status of the record at a path; None where there is none, or a damaged one.

    Raises:
        RecordError: If it cannot be read.
    """
    record = record_at(path)
    return None if record is None else record.status


def record_at(path: Path) -> RunRecord | None:
    """Return the record at a path; None where there is none, or a damaged one.

    Raises:
        RecordError: If it cannot be read.
    """
    try:
        return records.read(path)
    except DamagedRecordError as error:
        _logger.warning("%s The run counts as missing.", error)
        return None
    except RecordError:
        if path.exists():
            raise
        return None


def agreed_due(due: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Return the main process's answer in every process."""
    seeds: Any = _agreed([seed for seed, _ in due])
    return [claim for claim in due if claim[0] in seeds]


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return what tells whether records are changed later, by a new run of the same result too.

    Returns:
        Absolute path -> digest, for the records that are there.
    """
    found = {str(path.absolute()): _digest(path) for path in paths}
    return {path: digest for path, digest in found.items() if digest}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except FileNotFoundError:
        return ""


def refuse_splitting() -> None:
    """Refuse the ways of `accelerate launch` to split a model that nothing here does.

    Raises:
        ConfigError: If one was asked for.
    """
    for name in SPLITTING:
        if is_on(name):
            raise ConfigError(
                "accelerate launch must start plain processes (--multi_gpu), or split the frozen layers "
                f"with --use_fsdp, got {name}={os.environ[name]}: leave DeepSpeed, Megatron, "
                "offloading and checkpointing out of accelerate's configuration."
            )


def num_shares() -> int:
    """Return over how many processes the frozen layers are to be split; 1 for not at all."""
    return launch().size if is_on(SHARDING) else 1


def _agreed(value: Any) -> Any:
    """Return the main process's value in every process that `accelerate launch` started.

    Raises:
        ConfigError: If the processes do not know of each other.
    """
    if not is_one_of_several():
        return value
    from accelerate.utils import broadcast_object_list

    partial_state()
    return broadcast_object_list([value])[0]
