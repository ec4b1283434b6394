"""Processes: what those that `accelerate launch` started for one run agree on, and what each must know.

A process that fails leaves its reason in a file in the run's working folder. The main process sees only a
broken connection; it reads the file and puts the reason in the run's record.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pedro_bench import files, records
from pedro_bench.distributed import is_main, is_on, is_one_of_several, launch, partial_state
from pedro_bench.errors import ConfigError, PedroBenchError, RecordError, sentence
from pedro_bench.protocols.settings import Settings
from pedro_bench.records import status_of
from pedro_bench.training.saved_folder import restart, working_folder

REASON = "failed-process-"
"""Begins the name of the file in a run's working folder in which a process says why it failed."""

SECONDS = 2.0
"""How long the main process waits for such a file, which a network's file system may show late."""

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
_Result = TypeVar("_Result")

_SeedRun = TypeVar("_SeedRun", bound=tuple[int, Path])
"""Seed of a run and path of its record (`grid.planning.SeedRun`)."""


class Claims(Protocol):
    """What a worker holds of a configuration's runs."""

    current: Path | None
    """Path of the record of the run that it is at, None before the first."""

    @property
    def is_begun(self) -> bool:
        """Whether that run was begun, by whichever worker, since the command was started."""

    def check(self) -> None:
        """Raise TakenOver where that run is another worker's by now."""


def agreed_due(due: Sequence[_SeedRun]) -> list[_SeedRun]:
    """Return those runs in every process that are due in the main process."""
    seeds: Any = agreed([seed for seed, _ in due])
    return [run for run in due if run[0] in seeds]


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
    """Return the main process's value in every process that `accelerate launch` started."""
    if not is_one_of_several():
        return value
    from accelerate.utils import broadcast_object_list

    partial_state()
    return broadcast_object_list([value])[0]


def on_main(act: Callable[[], _Result]) -> _Result:
    """Return in every process what a function returns in the main one, or raise there what it raises.

    All processes call it at the same place; else the others would wait for one that has ended.
    """
    value: Any = None
    error: Exception | None = None
    if is_main():
        try:
            value = act()
        except Exception as found:  # noqa: BLE001 - raised below, in every process
            error = found
    value, error = agreed((value, error))
    if error is not None:
        raise error
    found_value: _Result = value
    return found_value


def made_ready(
    settings: Settings, claims: Claims, due: Iterable[tuple[int, Path]]
) -> Iterator[tuple[int, Path]]:
    """Yield what is due, once its working folder holds nothing that these processes cannot go on from.

    With `settings.rerun` that is whatever lies there before the first of the command's workers begins the
    run; another that takes it later goes on from its checkpoint.

    Args:
        settings: The runs' configuration.
        claims: What says whether a run is still this worker's.
        due: Seed and path of the record, for each run to do.
    """
    for seed, path in due:
        on_main(partial(_make_ready, settings, claims, seed, path))
        yield seed, path


def _make_ready(settings: Settings, claims: Claims, seed: int, path: Path) -> None:
    claims.check()
    folder = working_folder(settings, path)
    for reason in folder.glob(f"{REASON}*"):
        reason.unlink(missing_ok=True)
    is_anew = settings.rerun and not claims.is_begun
    if is_anew or _is_of_other_processes(folder, records.key_of(path), seed):
        restart(folder)


def _is_of_other_processes(folder: Path, key: str, seed: int) -> bool:
    """Whether the run's checkpoints fit but for the number of processes, whose random states they hold."""
    from pedro_bench.training.checkpoint import Identity
    from pedro_bench.training.saved_folder import DamagedFolderError, read_manifest

    here = launch().size
    for path in folder.glob("phase-*/checkpoint-[0-9]*"):
        try:
            header = read_manifest(path)["header"]
        except DamagedFolderError:
            continue
        wanted = asdict(Identity(key, seed, header["phase"], here))
        if [name for name in wanted if header.get(name) != wanted[name]] == ["num_processes"]:
            found = header["num_processes"]
            _logger.warning(
                "%s is of %d processes, and these are %d: the run starts afresh.", path, found, here
            )
            return True
    return False


@contextlib.contextmanager
def reasons_recorded(settings: Settings, claims: Claims) -> Iterator[None]:
    """Let the record of a run that fails in a `with` block say what went wrong in whichever process."""
    try:
        yield
    except Exception as error:
        if is_one_of_several() and claims.current is not None:
            folder = working_folder(settings, claims.current)
            if not is_main():
                _leave_reason(folder, claims.current, error)
            elif not isinstance(error, PedroBenchError):
                claims.check()
                _take_reason(folder, claims.current, settings)
        raise


def _leave_reason(folder: Path, path: Path, error: Exception) -> None:
    """Write why this process failed, unless the run had not begun or the main process failed first."""
    rank = launch().rank
    with contextlib.suppress(RecordError):  # a full disk: the record says what the others saw
        if status_of(path) == "running":
            files.write_text(folder / f"{REASON}{rank}", f"in process {rank}, {sentence(error)}")


def _take_reason(folder: Path, path: Path, settings: Settings) -> None:
    """Put another process's reason in the failed record, if there is one."""
    deadline = time.monotonic() + SECONDS
    while not (found := sorted(folder.glob(f"{REASON}*"))):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    reason = files.read_bytes(found[0]).decode("utf-8")
    record = records.read(path)
    if record.status == "failed":
        records.write(record.changed(error=reason), settings.results_dir)
    for one in found:
        one.unlink(missing_ok=True)
