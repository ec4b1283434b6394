"""Checkpoint files: what the headers of safetensors files say; no weight is read and torch not imported.

A header lists the name, type, shape and place of every tensor of its file.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pedro_bench.errors import BackboneError, some_of

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types, as safetensors writes them, that weights may have without a quantisation configuration."""

CONSTANTS = re.compile(r"(attn|attention)\.(masked_)?bias$|(^|\.)position_ids$")
"""Names under which old checkpoints hold masks and positions: the same in all of a kind, and no weights."""

WRAPPERS: Mapping[str, tuple[str, str]] = {
    "_orig_mod": ("torch.compile", "save the module inside, model._orig_mod"),
    "module": ("DataParallel or DeepSpeed", "save the module inside, model.module"),
    "_fsdp_wrapped_module": ("FSDP", "gather the full state dict and save that"),
    "_checkpoint_wrapped_module": ("activation checkpointing", "save the module inside"),
    "base_model": ("peft", "save model.merge_and_unload()"),
    "base_layer": ("peft", "save model.merge_and_unload()"),
    "lora_A": ("peft", "save model.merge_and_unload()"),
    "lora_B": ("peft", "save model.merge_and_unload()"),
    "modules_to_save": ("peft", "save model.merge_and_unload()"),
}
"""Part of a tensor's name -> the wrapper that put it there, and what to do instead."""

_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint.

    Attributes:
        file: The file it lies in.
        dtype: Its type, as safetensors writes it, such as `BF16`.
    """

    file: Path
    dtype: str


def check_files(files: Iterable[Path], *, is_quantised: bool) -> None:
    """Require whole files whose tensors have a model's own names and floating-point types.

    Args:
        files: The safetensors files of one checkpoint.
        is_quantised: Whether the configuration says how its weights are quantised.

    Raises:
        BackboneError: If a file is damaged, a name stands in two files or was given by a wrapper, or
            weights have a type that cannot be read without a quantisation configuration.
    """
    found = entries(files)
    _refuse_wrappers(found)
    odd = {
        name: entry
        for name, entry in found.items()
        if entry.dtype not in FLOATS and not CONSTANTS.search(name)
    }
    if odd and not is_quantised:
        name, entry = next(iter(odd.items()))
        raise BackboneError(
            f"weights must have one of the types {', '.join(FLOATS)} where config.json has no "
            f"quantization_config, got {entry.dtype} for {name} in {entry.file} ({len(odd)} such "
            "tensors): without it nothing says which numbers they stand for, so give the model's "
            "unquantised weights."
        )


def entries(files: Iterable[Path]) -> dict[str, Entry]:
    """Return every tensor of some safetensors files by its name.

    Raises:
        BackboneError: If a file is damaged, or a name stands in two of them.
    """
    found: dict[str, Entry] = {}
    for file in files:
        for name, dtype in _header(file).items():
            if name in found:
                raise BackboneError(
                    f"every tensor of a checkpoint must stand in one file, got {name} in "
                    f"{found[name].file} and in {file.name}: save the model again."
                )
            found[name] = Entry(file, dtype)
    return found


def _refuse_wrappers(found: Mapping[str, Entry]) -> None:
    for part, (wrapper, remedy) in WRAPPERS.items():
        names = [name for name in found if part in name.split(".")]
        if names:
            raise BackboneError(
                f"the tensors of a checkpoint must have the names of the model itself, got "
                f"{some_of(names)} in {found[names[0]].file.parent}, where {part!r} comes from "
                f"{wrapper}: {remedy} with save_pretrained."
            )


def _header(file: Path) -> dict[str, str]:
    """Return name -> type of a file's tensors, after comparing the header with the file's length.

    Raises:
        BackboneError: If the header cannot be read, or the file is cut or too long.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size):
                raise ValueError("header length")
            header = json.loads(stream.read(length))
        tensors = {name: one for name, one in header.items() if name != "__metadata__"}
        ends = [one["data_offsets"][1] for one in tensors.values()]
        expected = 8 + length + max(ends, default=0)
        types = {name: str(one["dtype"]) for name, one in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(
            f"{file} must be a safetensors file, got a damaged header: download or save it again."
        ) from error
    if size != expected:
        raise BackboneError(
            f"{file} must have {expected} bytes as its header says, got {size}: the file is "
            "damaged, download or save it again."
        )
    return types
