"""Owner: which process holds something, told so that other processes and machines understand it.

A process number alone is not enough: it is used again after a process has ended, it starts anew with the
machine, and containers count for themselves.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.files import boot


@dataclass(frozen=True)
class Owner:
    """A process: where it can be looked for, and a random word that no other has.

    Attributes:
        host: Name of its machine.
        boot: What tells this start of this machine, and this container on it, from all others.
        pid: Its process number.
        birth: When it was started, in ticks since the machine's start.
        word: Random.
    """

    host: str
    boot: str
    pid: int
    birth: str
    word: str

    @classmethod
    def here(cls) -> "Owner":
        """Return an owner that stands for this process."""
        return cls(
            socket.gethostname(), boot(), os.getpid(), _birth(os.getpid()), secrets.token_hex(8)
        )

    def is_dead(self) -> bool:
        """Whether it is known to be gone; of a process of another machine nothing is known."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), boot()):
            return False
        birth = _birth(self.pid)
        return birth != self.birth if birth else not _is_hidden(self.pid)


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc may not show, since it is another user's."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False  # one's own, so a zombie


def _birth(pid: int) -> str:
    """Return when a process of this machine was started, or nothing if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
