"""Sharing: what the processes of one run agree on, and what they find recorded."""

import logging
import os
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.errors import ConfigError, DamagedRecordError, RecordError
from pedro_bench.ranks import is_on, is_one_of_several, launch, partial_state
from pedro_bench.records import RunRecord

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
    seeds: Any = agreed([seed for seed, _ in due])
    return [claim for claim in due if claim[0] in seeds]


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


def agreed(value: Any) -> Any:
    """Return the main process's value in every process that `accelerate launch` started.

    Raises:
        ConfigError: If the processes do not know of each other.
    """
    if not is_one_of_several():
        return value
    from accelerate.utils import broadcast_object_list

    partial_state()
    return broadcast_object_list([value])[0]
