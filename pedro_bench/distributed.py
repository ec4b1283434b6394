"""Distributed: which process of a launcher this is, and how it meets the others.

Clusters, notebooks and shells leave single variables of launchers behind. Only the complete set that
`accelerate launch` and torchrun give every process makes it one of several; without `WORLD_SIZE`, or
with 1, it is alone whatever the others say, and libraries do not get to see them.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pedro_bench.errors import ConfigError

SET = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher gives every process."""

SHARED_DEVICES = "PEDRO_BENCH_SHARED_DEVICES"
"""Variable of a worker: the kinds of device, such as `cpu,cuda`, that others of its command are at too."""

MEETING_SECONDS = 60
"""How long ranks wait for each other at the start, by default."""

_REMEDY = "start with accelerate launch or torchrun, or unset WORLD_SIZE for one process."
_OF_MPI = ("PMI_", "OMPI_", "MV2_", "MPI_LOCAL")
_OF_LAUNCHERS = (*_OF_MPI, *SET, "LOCAL_WORLD_SIZE", "ACCELERATE_", "FSDP_")
_PAUSE = 0.1


@dataclass(frozen=True)
class Launch:
    """A process among those that one launcher started.

    Attributes:
        rank: Its number, from 0; 0 takes runs, writes and prints.
        size: How many there are; 1 without a launcher.
        address: Host at which they meet.
        port: Port there.
    """

    rank: int = 0
    size: int = 1
    address: str = ""
    port: int = 0


_met: dict[Launch, Any] = {}
"""Launch -> the store it met in. That of rank 0 serves the others for as long as it lives."""


def launch() -> Launch:
    """Read from the environment which process this is; see the module's docstring.

    Raises:
        ConfigError: If WORLD_SIZE asks for several and the set is incomplete or contradicts itself, or
            is no number.
    """
    given = {name: os.environ.get(name, "").strip() for name in SET}
    size = _number("WORLD_SIZE", given["WORLD_SIZE"] or "1", 1)
    if size == 1:
        return Launch()
    missing = [name for name in SET if not given[name]]
    if missing:
        raise ConfigError(
            f"the environment must hold the whole set of a launcher ({', '.join(SET)}) for several "
            f"processes, got WORLD_SIZE={size} without {', '.join(missing)}: {_REMEDY}"
        )
    _number("LOCAL_RANK", given["LOCAL_RANK"], 0, size - 1)
    rank = _number("RANK", given["RANK"], 0, size - 1)
    return Launch(
        rank, size, given["MASTER_ADDR"], _number("MASTER_PORT", given["MASTER_PORT"], 1, 65535)
    )


def is_main() -> bool:
    """Whether this process takes runs, writes and prints, when a launcher started several."""
    return launch().rank == 0


def is_one_of_several() -> bool:
    """Whether a launcher started other processes that share this run."""
    return launch().size > 1


def is_on(name: str) -> bool:
    """Whether a variable of the environment says yes."""
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def meet(seconds: float = MEETING_SECONDS) -> None:
    """Wait until every rank has come; at once where this process is alone or they have met.

    Signals and Ctrl-C end the waiting.

    Args:
        seconds: How long to wait at most.

    Raises:
        ConfigError: If a rank has not come by then, with its number, or two came as the same.
    """
    here = launch()
    if here.size == 1 or here in _met:
        return
    import torch.distributed  # noqa: F401 - its seconds are not the others'

    deadline = time.monotonic() + seconds
    place = f"{here.address}:{here.port}"
    has_agent = is_on("TORCHELASTIC_USE_AGENT_STORE")
    is_host = here.rank == 0 and not has_agent

    def fail(got: str) -> ConfigError:
        return ConfigError(
            f"all {here.size} processes must meet at {place} within {seconds:g} seconds "
            f"(meeting_seconds), got {got}: {_REMEDY}"
        )

    try:
        store = _waited_for(lambda: _connected(here, is_host, deadline), deadline)
        others = store.add(f"rank-{here.rank}", 1) - 1
        missing = list(range(here.size))
        while missing := [rank for rank in missing if not store.check([f"rank-{rank}"])]:
            if time.monotonic() > deadline:
                raise fail(f"{here.size - len(missing)} without rank {_listed(missing)}")
            time.sleep(_PAUSE)
    except (RuntimeError, OSError, TimeoutError) as error:  # torch's network errors among them
        reason = " ".join(str(error).split(" Exception raised from")[0].split()).rstrip(".")
        shown = f" ({reason})" if reason else ""
        raise fail(f"no answer from {'the launcher' if has_agent else 'rank 0'}{shown}") from error
    if others:
        raise fail(f"another process with RANK={here.rank}")
    _met[here] = store


def partial_state() -> Any:
    """Return accelerate's state of the processes, which meet first.

    Raises:
        ConfigError: If they do not meet, or accelerate does not see them all.
    """
    import torch
    from accelerate import PartialState

    meet()
    here = launch()
    with _only_own_variables(here):
        is_cpu = is_on("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
        state = PartialState(cpu=is_cpu and here.size > 1)
    if state.num_processes != here.size:
        raise ConfigError(
            f"processes must meet as WORLD_SIZE={here.size} says, got {state.num_processes}: {_REMEDY}"
        )
    return state


def accelerator() -> Any:
    """Return accelerate's `Accelerator` for plain loops: nothing of the environment scales or accumulates."""
    from accelerate import Accelerator

    partial_state()
    with _only_own_variables(launch()):
        return Accelerator(device_placement=False, mixed_precision="no")


@contextlib.contextmanager
def _only_own_variables(here: Launch) -> Iterator[None]:
    """Hide from accelerate, in a `with` block, what is not of this launch: it also reads MPI's variables."""
    prefixes = _OF_LAUNCHERS if here.size == 1 else _OF_MPI
    hidden = {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    except ValueError as error:  # a flag that is neither yes nor no
        raise ConfigError(
            f"variables named ACCELERATE_… must be as accelerate launch sets them, got: {error}."
        ) from error
    finally:
        os.environ.update(hidden)


def _waited_for(make: Callable[[], Any], deadline: float) -> Any:
    """Call a function in a thread, since signals do not reach a call that waits inside torch."""
    results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((make(), None))
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        try:
            made, error = results.get(timeout=_PAUSE)
        except queue.Empty:
            # A name server, or an unknown program there, does not answer.
            if time.monotonic() > deadline + 1:
                raise TimeoutError from None
            continue
        if error is not None:
            raise error
        return made


def _connected(here: Launch, is_host: bool, deadline: float) -> Any:
    """Open the store in which ranks say that they have come, or connect to it."""
    import socket
    from datetime import timedelta

    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not in __all__

    while not is_host:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((here.address, here.port), timeout=max(left, _PAUSE)).close()
            break
        except OSError:
            if left < 0:
                raise
            time.sleep(_PAUSE)
    left = max(deadline - time.monotonic(), 1.0)
    store = TCPStore(
        here.address,
        here.port,
        is_master=is_host,
        wait_for_workers=False,
        multi_tenant=True,  # torch opens its own at the same place
        timeout=timedelta(seconds=left),
    )
    return PrefixStore(f"meeting-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _number(name: str, value: str, least: int, most: int | None = None) -> int:
    is_number = value.isascii() and value.isdecimal()
    if not is_number or int(value) < least or (most is not None and int(value) > most):
        rule = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} must be a whole number {rule}, got {value!r}: {_REMEDY}")
    return int(value)


def _listed(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown if len(ranks) <= 8 else f"{shown} and {len(ranks) - 8} more"
