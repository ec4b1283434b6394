"""Float32 weights of a GGUF file, made once and kept as a folder that `save_pretrained` could have written.

Transformers reads and dequantises the file (half a minute for 135 million parameters); what it gives is
saved under `outputs/backbones/`, named by the file's hash, so that later runs load it in a second and
everything that reads a folder (shapes, proofs, tokenizers) reads this one. The folder carries the hash
of its content: a damaged one is made again. Removing it is always safe.
"""

import json
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.backbones import folders
from pedro_bench.errors import BackboneError

KEPT_IN = Path("outputs") / "backbones"
"""Where the folders lie, beneath the folder in which a command is called."""

_MADE_FROM = "made_from.json"


def kept_folder(file: Path) -> Path | None:
    """Return the folder of a file's float32 weights if it is there and whole, else None."""
    folder = _place(file)
    try:
        made = json.loads((folder / _MADE_FROM).read_text(encoding="utf-8"))
        is_whole = made["content"] == folders.folder_hash(folder)
    except (OSError, ValueError, KeyError, TypeError, BackboneError):
        return None
    return folder if is_whole else None


def dequantised(file: Path) -> Path:
    """Return the folder of a file's float32 weights, made now if it is not kept.

    Raises:
        BackboneError: If Transformers cannot read the file, or the folder cannot be written.
    """
    return kept_folder(file) or _make(file)


def read_config(file: Path) -> dict[str, Any]:
    """Return what would stand in the `config.json` of a file's model, from the file's settings alone.

    Raises:
        BackboneError: If Transformers does not know the architecture.
    """
    folder = kept_folder(file)
    if folder is not None:
        return folders.read_config(folder)
    return dict(_described(str(file.resolve()), files.stamp(file)))


@lru_cache(maxsize=16)
def _described(file: str, _stamp: tuple[int, int]) -> dict[str, Any]:
    import transformers

    from pedro_bench.backbones.refusals import REFUSALS, quiet, unsuitable

    place = Path(file)
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(place.parent, gguf_file=place.name)
    except REFUSALS as error:
        raise unsuitable(file, error) from error
    described: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return described


def _make(file: Path) -> Path:
    folder = _place(file)
    sys.stderr.write(
        f"Reading {file.name} and making float32 weights of it, once: about a minute ...\n"
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".gguf-") as room:
            made = Path(room) / "made"
            _write(file, made)
            note = {"file": file.name, "content": folders.folder_hash(made)}
            (made / _MADE_FROM).write_text(json.dumps(note), encoding="utf-8")
            if kept_folder(file) is None:  # another process may have been faster
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
    except OSError as error:
        raise BackboneError(
            f"the float32 weights of {file.name} must have room in {folder.parent}, got "
            f"{error.strerror or error}: free some, or call from another folder."
        ) from error
    return folder


def _write(file: Path, folder: Path) -> None:
    """Read the file as Transformers does and save model and tokenizer.

    Raises:
        BackboneError: If Transformers refuses it.
    """
    import torch
    import transformers

    from pedro_bench.backbones.refusals import REFUSALS, quiet, unsuitable

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        with quiet():
            model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            _forget_quantisation(model)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except REFUSALS as error:
        raise unsuitable(str(file), error) from error


def _forget_quantisation(model: Any) -> None:
    """Let a dequantised model be saved: its weights are plain numbers."""
    for owner, name in (
        (model, "hf_quantizer"),
        (model, "quantization_method"),
        (model.config, "quantization_config"),
    ):
        if hasattr(owner, name):
            delattr(owner, name)


def _place(file: Path) -> Path:
    return KEPT_IN / f"gguf-{files.sha256_of(file)[:32]}"
