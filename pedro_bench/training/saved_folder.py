"""Saved folders: tensors and JSON written whole or not at all, and verified when read.

A folder holds one safetensors file per part, `state.json`, and `manifest.json` with the SHA-256 of
each and of itself. It is written beside its target under a name that starts with `.partial-`,
flushed to the disk and then renamed, so a folder under its final name is complete; what a dying
disk or a stray hand did to it later is found by the checksums. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pedro_bench.errors import TrainingError

MANIFEST = "manifest.json"
_STATE = "state.json"
_PARTIAL = ".partial-"


class DamagedFolderError(Exception):
    """A saved folder is incomplete or not what was written; its text says which file and why."""


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    Attributes:
        header: What the folder belongs to (schema, key, seed …).
        state: Plain values.
        tensors: Part -> name -> tensor on the CPU.
    """

    header: Mapping[str, Any]
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


def write_folder(target: Path, saved: Saved) -> None:
    """Write a folder whole, replacing one of the same name.

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
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
        _flush(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"the working folder {target.parent} must be writable and have free space, got "
            f"{error}: free some space or set output_dir to another disk, then start the run again."
        ) from error


def read_folder(source: Path) -> Saved:
    """Read a folder and verify every byte of it.

    Raises:
        DamagedFolderError: If a file is missing, cut off or changed.
    """
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


def remove_partial(parent: Path) -> None:
    """Remove what a killed process left half-written in a folder."""
    for partial in parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def _write_parts(folder: Path, saved: Saved) -> None:
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


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
