"""Saved folders: tensors and JSON written whole or not at all, verified when read; a run's working folder.

A folder holds one safetensors file per part, `state.json`, and `manifest.json` with the SHA-256 of
each and of itself. It is written under a name that starts with `.partial-`, flushed to the disk and then
renamed, so a folder under its final name is complete; later damage is found by the checksums. Nothing is
ever unpickled.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pedro_bench import records
from pedro_bench.errors import RecordError, TrainingError, reason
from pedro_bench.protocols.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER = "adapter"
"""The folder of a finished run's adapter, in the run's working folder."""
MANIFEST = "manifest.json"
_STATE = "state.json"
_PARTIAL = ".partial-"


class DamagedFolderError(Exception):
    """A saved folder is incomplete or not what was written; its text says which file and why."""


@dataclass(frozen=True)
class Saved:
    """What a folder holds: what it belongs to, plain values, and part -> name -> tensor on the CPU."""

    header: Mapping[str, Any]
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, "Tensor"]]


def write_folder(target: Path, saved: Saved) -> None:
    """Write a folder whole, replacing one of the same name, or a link to one as `remove_folder` does.

    Raises:
        TrainingError: If the disk is full or the place cannot be written; nothing half-written
            stays.
    """
    partial = target.parent / f"{_PARTIAL}{target.name}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_parts(partial, saved)
        _flush(partial)
        remove_folder(target)
        partial.replace(target)
        _flush(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"the working folder {target.parent} must be writable and have free space, got "
            f"{reason(error)}: free some space or set output_dir to another disk, then start the run again."
        ) from error


def read_folder(source: Path) -> Saved:
    """Read a folder and verify every byte of it.

    Raises:
        DamagedFolderError: If a file is missing, cut off or changed.
    """
    from safetensors.torch import load_file

    body = read_manifest(source)
    for name, digest in body["files"].items():
        if Path(name).name != name:
            raise DamagedFolderError(f"{MANIFEST} names {name!r}, which lies in another folder")
        if _digest(source, name) != digest:
            raise DamagedFolderError(f"{name} does not have its checksum")
    tensors = {
        Path(name).stem: load_file(source / name)
        for name in body["files"]
        if name.endswith(".safetensors")
    }
    return Saved(body["header"], json.loads((source / _STATE).read_text()), tensors)


def read_manifest(source: Path) -> dict[str, Any]:
    """Read and verify a folder's manifest alone: its `header` and the checksums of its `files`.

    Raises:
        DamagedFolderError: If the manifest is missing, cut off or changed.
    """
    try:
        manifest = json.loads((source / MANIFEST).read_bytes())
        body, digest = manifest["body"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFolderError(f"{MANIFEST} cannot be read") from error
    if hashlib.sha256(_canonical(body)).hexdigest() != digest:
        raise DamagedFolderError(f"{MANIFEST} does not have its checksum")
    return dict(body)


def remove_folder(path: Path) -> None:
    """Remove a folder, if there is one; of a link to one only the link, as others may use what it names.

    Raises:
        OSError: If it cannot be removed.
    """
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def remove_partial(parent: Path) -> None:
    """Remove what a killed process left half-written in a folder."""
    for partial in parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def _write_parts(folder: Path, saved: Saved) -> None:
    from safetensors.torch import save_file

    files = {}
    for part, tensors in saved.tensors.items():
        save_file(_separate(tensors), folder / f"{part}.safetensors")
        files[f"{part}.safetensors"] = _digest(folder, f"{part}.safetensors")
    (folder / _STATE).write_text(json.dumps(dict(saved.state), indent=1))
    files[_STATE] = _digest(folder, _STATE)
    body = {"header": dict(saved.header), "files": files}
    manifest = {"body": body, "sha256": hashlib.sha256(_canonical(body)).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for name in (*files, MANIFEST):
        _flush(folder / name)


def _separate(tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return contiguous tensors on the CPU that share no memory, as safetensors needs them."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        separate[name] = own
    return separate


def _canonical(body: Any) -> bytes:
    return json.dumps(body, sort_keys=True).encode()


def _digest(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFolderError(f"{name} cannot be read") from error


def _flush(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def working_folder(settings: Settings, path: Path) -> Path:
    """Return the folder of a run's checkpoints and adapter, from the path of its record."""
    return Path(settings.output_dir) / settings.suite / path.stem


def phase_folder(folder: Path, phase: int) -> Path:
    """Return where a phase's checkpoints lie in a run's working folder."""
    return folder / f"phase-{phase}"


def restart(folder: Path) -> None:
    """Remove what a resumed run would go on with: the run is finished, or starts afresh."""
    for phase in folder.glob("phase-*"):
        remove_folder(phase)
    for identifier in folder.glob("tracking-*"):
        identifier.unlink(missing_ok=True)


def remove_results(folder: Path, record: Path) -> None:
    """Remove a run's adapter and predictions: it begins anew or failed, and its record has none.

    An adapter that a finished run of another results_dir saved in the same working folder stays.

    Args:
        folder: The run's working folder.
        record: Path of its record.
    """
    with contextlib.suppress(OSError):
        records.predictions_path(record).unlink(missing_ok=True)
    if not _is_of_another(folder, record):
        with contextlib.suppress(OSError):
            remove_folder(folder / ADAPTER)


def _is_of_another(folder: Path, record: Path) -> bool:
    """Whether an adapter is that of a finished run whose record lies in another results_dir."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecordError):
        config = json.loads((folder / ADAPTER / _STATE).read_text(encoding="utf-8"))["config"]
        owner = records.suite_folder(config["results_dir"], config["suite"]) / record.name
        is_own = owner.parent.samefile(record.parent)
        return not is_own and records.status_of(owner) == "finished"
    return False


def steps_saved(folder: Path) -> int:
    """Return up to which step checkpoints reach, all phases together; 0 where there are none."""
    newest: dict[str, int] = {}
    for path in folder.glob("phase-*/checkpoint-[0-9]*"):
        step = int(path.name.rpartition("-")[2])
        newest[path.parent.name] = max(step, newest.get(path.parent.name, 0))
    return sum(newest.values())
