"""Which process holds a lease, and whether that process is known to be gone.

A process number alone does not name a process: numbers are given again, on every machine and in every
container. So a holder is named by its machine, by this start of the machine, and by its own start too.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.files import boot


@dataclass(frozen=True)
class Holder:
    """A process that holds a lease. The fields have the names that stand in lease files.

    Attributes:
        host: Name of its machine.
        boot: What identifies this start of the machine, and the container on it; empty if that is not known.
        pid: Its process number.
        birth: When it was started, in clock ticks since the machine's start; empty if that is not known.
        word: A random word, which tells two leases of one process apart.
    """

    host: str
    boot: str
    pid: int
    birth: str
    word: str

    @classmethod
    def this_process(cls) -> "Holder":
        """Return a new holder that stands for this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), boot(), pid, _start_of(pid), secrets.token_hex(8))

    @property
    def name(self) -> str:
        """Machine and process number, as `host:pid`."""
        return f"{self.host}:{self.pid}"

    def is_dead(self) -> bool:
        """Whether the process is known to be gone; of one on another machine nothing is known."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), boot()):
            return False
        start = _start_of(self.pid)
        return start != self.birth if start else not _is_hidden(self.pid)


def _start_of(pid: int) -> str:
    """Return when a process of this machine was started, or nothing if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    state, start_ticks = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return "" if state in "ZX" else start_ticks


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc may not show, since it is another user's."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False  # one's own, so a zombie
