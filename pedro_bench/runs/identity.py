"""The key of a run: a hash of everything that can move its numbers; nothing heavy is imported.

The key holds the resolved configuration without names and labels, the fingerprint of the data, the
identity of the backbone, the kind of device, and the version of every component in use. A version is a
whole number that stands with its component: `Method.version`, `Task.version` (in the YAML), the versions
of the metrics that a task names, of the data source, of splits and encoding, of the trainer, of the
evaluation and of the backbone's family. No code is hashed, so a refactoring moves no key; the golden
traces (tests/golden) fail where a component's numbers move and its version does not. Versions of libraries,
device, commit and a hash of the code are recorded as provenance.

A setting that came after the first records declares what was in force before it: `later(default, neutral)`
in `checks`. It stands in the key only where its value is another.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.checks import NEUTRAL
from pedro_bench.data import chat, encoding, splits
from pedro_bench.errors import DataError, reason
from pedro_bench.protocols.settings import Settings, recorded_config
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import kind_of_device

FORGETTING = 1
"""Version of what `evaluation.forgetting` measures; enters the key of a run that asks for it."""


def run_key(settings: Settings) -> str:
    """Return the key of a configuration: twelve hexadecimal digits.

    Raises:
        PedroBenchError: If the data or the backbone cannot be found.
    """
    return records.run_key(key_parts(settings))


def begun(settings: Settings, seed: int, path: Path, started: str) -> RunRecord:
    """Return the record of a run that has begun at a time (ISO 8601); its path's name holds the key."""
    return RunRecord(
        key=records.key_of(path),
        status="running",
        method=settings.method.name,
        task=settings.task.name,
        backbone=settings.backbone.name,
        data=settings.data.name,
        suite=settings.suite,
        seed=seed,
        config=recorded_config(settings.resolved_config),
        main_metric=settings.task.main_metric,
        started=started,
    )


def key_parts(settings: Settings) -> dict[str, Any]:
    """Return what `run_key` hashes, as JSON types.

    Raises:
        PedroBenchError: If the data or the backbone cannot be found.
    """
    trainer, backbone, task = settings.trainer, settings.backbone, settings.task
    # Official row numbers are not in the key; what they choose is.
    division = {"division": task.division} if task.split_rule == "by_size" else {}
    text = settings.evaluation.forgetting
    measured = (
        {} if text is None else {"forgetting": {"sha256": text_digest(text), "version": FORGETTING}}
    )
    return {
        "method": _described(settings.method, records.NOT_IN_KEY["method"]),
        "task": {**_described(task, records.NOT_IN_KEY["task"]), **division},
        "evaluation": _described(settings.evaluation, records.NOT_IN_KEY["evaluation"]),
        "trainer": _described(trainer, trainer.moves_no_number),
        "lr": trainer.resolved_lr(settings.method),
        "batch_size": trainer.resolved_batch_size(task.official_rows[0]),
        "data": {
            "fingerprint": settings.data.fingerprint(task),
            "holdout": settings.data.holdout,
        },
        "backbone": {
            "identity": backbone.identity(),
            "dtype": getattr(backbone, "dtype", None),
            "attn_implementation": getattr(backbone, "attn_implementation", None),
        },
        "device": kind_of_device(settings.device),
        "versions": versions(settings),
        **measured,
    }


def text_digest(path: str) -> str:
    """Return the SHA-256 of the file that `evaluation.forgetting` names.

    Raises:
        DataError: If it cannot be read, or is no UTF-8.
    """
    return hashlib.sha256(_read(path)[0]).hexdigest()


def plain_text(path: str) -> str:
    """Return the text that `evaluation.forgetting` names, with line feeds alone at the ends of lines.

    Raises:
        DataError: If it cannot be read, or is no UTF-8.
    """
    return _read(path)[1].replace("\r\n", "\n").replace("\r", "\n")


def _read(path: str) -> tuple[bytes, str]:
    try:
        content = Path(path).expanduser().read_bytes()
        return content, content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"evaluation.forgetting must be a UTF-8 text file, got {path!r} ({reason(error)}): give its "
            "path, or null."
        ) from error


def versions(settings: Settings) -> dict[str, int]:
    """Return the version of every component that a configuration uses: `method.Pedro` -> 1."""
    own = {f"metric.{one.__name__}": one.version for one in settings.task.metric_functions}
    if getattr(settings.task, "chat_template", chat.NONE) != chat.NONE:
        own["chat"] = chat.VERSION
    family, family_version = settings.backbone.family_version()
    return {
        f"method.{type(settings.method).__name__}": settings.method.version,
        f"task.{type(settings.task).__name__}": settings.task.family_version,
        f"data.{type(settings.data).__name__}": settings.data.version,
        f"family.{family}": family_version,
        f"evaluation.{type(settings.evaluation).__name__}": settings.evaluation.version,
        "trainer": settings.trainer.version,
        "encoding": encoding.VERSION,
        "splits": splits.VERSION,
        **own,
    }


def _described(value: Any, left_out: frozenset[str] = frozenset()) -> Any:
    """Return a setting as JSON types; a dataclass by its class's name, wherever the class lies."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {
            part.name: _described(getattr(value, part.name))
            for part in fields(value)
            if part.init
            and part.name not in left_out
            and not (
                NEUTRAL in part.metadata and getattr(value, part.name) == part.metadata[NEUTRAL]
            )
        }
        return {"class": type(value).__name__, **own}
    if isinstance(value, Mapping):
        return {str(name): _described(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    return value
