"""What decides a run's numbers, hashed into its key without importing anything heavy.

The key holds the resolved configuration (names and labels left out), the data's and the backbone's
identity, the kind of device, and the text of every module that can move a number: the shared ones, and
the run's own method, task and backbone modules, wherever they lie. So adding a method changes no other
method's keys. Comments, docstrings and white space do not count as text. Versions of libraries are
recorded, but do not enter: a record says under which ones it was made.
"""

import hashlib
import io
import os
import sys
import tokenize
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import Settings

PACKAGE = Path(__file__).parent.parent

_SHARED = ("nn", "training", "evaluation", "data", "metrics", "protocols")
_MOVES_NO_NUMBER = {
    "nn/tenant_blocks.py",
    "training/tracking.py",
    "training/progress.py",
    "training/interruption.py",
    "training/failures.py",
    "training/working_folder.py",
    "data/inspection.py",
    "protocols/settings.py",
}
_NOT_IN_KEY = {
    "method": ("name", "label", "lr", "micro_lr"),
    "task": ("name", "label", "hub_id", "hub_config", "hub_revision", "official_rows"),
    "evaluation": ("name", "batch_size"),
}


def run_key(settings: Settings) -> str:
    """Return the key of a configuration: twelve hexadecimal digits.

    Raises:
        PedroBenchError: If the data or the backbone cannot be found.
    """
    config = settings.resolved_config
    parts: dict[str, Any] = {
        group: {name: value for name, value in config[group].items() if name not in left_out}
        for group, left_out in _NOT_IN_KEY.items()
    }
    trainer = settings.trainer
    parts["trainer"] = trainer.key_fields()
    parts["lr"] = trainer.resolved_lr(settings.method)
    parts["batch_size"] = trainer.resolved_batch_size(settings.task.official_rows[0])
    parts["data"] = {
        "fingerprint": settings.data.fingerprint(settings.task),
        "holdout": settings.data.holdout,
    }
    parts["backbone"] = {
        "identity": settings.backbone.identity(),
        "dtype": getattr(settings.backbone, "dtype", None),
        "attn_implementation": getattr(settings.backbone, "attn_implementation", None),
    }
    parts["device"] = resolve_device(settings.device).partition(":")[0]
    parts["code"] = code_version(
        type(part).__module__ for part in (settings.method, settings.task, settings.backbone)
    )
    return records.run_key(parts)


def resolve_device(device: str) -> str:
    """Turn `auto` into `cuda` where a GPU and a PyTorch that can use it are there, else `cpu`.

    Torch is not imported: an NVIDIA driver shows in the file system, and a CPU build in torch's
    version.

    Raises:
        ConfigError: If a GPU is asked for and PyTorch is a CPU build.
    """
    is_cpu_build = _torch_version().endswith("+cpu")
    if device == "auto":
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        has_gpu = Path("/dev/nvidiactl").exists() and not hidden
        return "cuda" if has_gpu and not is_cpu_build else "cpu"
    if device.startswith("cuda") and is_cpu_build:
        raise ConfigError(
            f"device must be cpu with a CPU build of PyTorch, got {device!r}: install a CUDA build "
            "of torch, or set device=cpu."
        )
    return device


@cache
def _torch_version() -> str:
    return metadata.version("torch")


def code_version(modules: Iterable[str]) -> str:
    """Return a SHA-256 over the code of the shared modules and of the named ones.

    Args:
        modules: Dotted names of imported modules; one outside this package counts with its own file.

    Raises:
        ConfigError: If a module outside this package has no file.
    """
    return _code_version(tuple(sorted(set(modules))))


@cache
def _code_version(modules: tuple[str, ...]) -> str:
    """Return the hash; once for a process, whose code stays what it was when it was imported."""
    files = {file for folder in _SHARED for file in (PACKAGE / folder).glob("*.py")}
    files |= {PACKAGE / "seeding.py"}
    files |= {PACKAGE / "experiment" / f"{name}.py" for name in ("runner", "phases")}
    files |= set((PACKAGE / "backbones").glob("*.py"))
    prefix = f"{PACKAGE.name}."
    digest = hashlib.sha256()
    for module in modules:
        if module.startswith(prefix):
            files.add(PACKAGE.joinpath(*module.removeprefix(prefix).split(".")).with_suffix(".py"))
        else:
            file = _file_of(module)
            digest.update(f"{module} {_code_hash(str(file), file.stat().st_mtime_ns)}\n".encode())
    for file in sorted(files):
        name = file.relative_to(PACKAGE).as_posix()
        if name not in _MOVES_NO_NUMBER:
            digest.update(f"{name} {_code_hash(str(file), file.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _file_of(module: str) -> Path:
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        raise ConfigError(
            f"_target_ must name a class in a file, got one of {module!r}: its code would be no part "
            "of the run's key."
        )
    return Path(file)


@lru_cache(maxsize=512)
def _code_hash(file: str, mtime_ns: int) -> str:
    """Hash a module's tokens without comments, docstrings and layout; the time only guards the cache."""
    source = Path(file).read_text(encoding="utf-8")
    kept: list[str] = []
    starts_line = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            kept.append(" " if token.type == tokenize.NEWLINE else str(token.type))
            starts_line = True
            continue
        if not (starts_line and token.type == tokenize.STRING):
            kept.append(token.string)
        starts_line = False
    return hashlib.sha256("".join(kept).encode()).hexdigest()
