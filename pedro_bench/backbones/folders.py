"""A backbone's folder on disk: where it is, whether it is whole, and what identifies its content.

A Hub repository is first brought into a folder (the local cache, or a download at a pinned commit),
so everything after that reads folders only. Nothing here imports torch, and nothing unpickles:
weights are safetensors.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.backbones import checkpoint, kinds
from pedro_bench.errors import BackboneError, reason

PACKAGE_PREFIX = "package:"
"""A path such as `package:micro_weights` names a folder that is installed beside this module."""

HASHED = "sha256:"
"""How the identity of a folder begins: the hash of its content follows."""

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Of these, what makes a tokenizer by itself."""


def local_folder(path: str) -> Path | None:
    """Return the folder a path means, whether it exists or not, or None if it is a Hub id."""
    if path.startswith(PACKAGE_PREFIX):
        return Path(__file__).parent / path.removeprefix(PACKAGE_PREFIX)
    folder = Path(path).expanduser()
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or "\\" in path
    return folder if looks_local or kinds.is_file_name(path) or folder.exists() else None


def check_folder(folder: Path) -> None:
    """Require a folder with `config.json` and whole safetensors weights, and nothing that is added.

    Raises:
        BackboneError: If the folder, its configuration or a weight file is missing or damaged; if an
            adapter lies beside the weights, or the weights are not those that would be loaded; if
            they have names or types that the model cannot use.
    """
    config = read_config(folder)
    kinds.refuse_other_kinds(folder)
    if config.get("transformers_weights") is not None:
        raise BackboneError(
            f"the weights of a backbone must lie in {WEIGHTS} or its shards, got "
            f"transformers_weights={config['transformers_weights']!r} in {folder / 'config.json'}: "
            "save the model again with save_pretrained."
        )
    weights = weight_files(folder)
    checkpoint.check_files(weights, is_quantised=bool(config.get("quantization_config")))


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of the folder's `config.json`.

    Raises:
        BackboneError: If the folder or the file is missing or is not a JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        kinds.refuse_other_kinds(folder)
    if not folder.is_dir():
        raise BackboneError(
            "backbone.path must be an existing folder or a Hub id such as owner/name, got "
            f"{str(folder)!r}."
        )
    if not file.is_file():
        raise BackboneError(
            f"backbone.path must be a folder with a config.json, got {str(folder)!r}, which has "
            "none: give the folder that save_pretrained or a Hub download has written."
        )
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        BackboneError: If the file is not readable or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{file} must be a readable JSON object, got: {reason(error)}."
        ) from error
    if not isinstance(content, dict):
        raise BackboneError(f"{file} must be a JSON object, got {type(content).__name__}.")
    return content


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files that hold the weights: all shards, or the one file.

    Raises:
        BackboneError: If there are none, or both, or a shard that the index names is missing or lies
            elsewhere.
    """
    index = folder / WEIGHTS_INDEX
    if index.is_file() and (folder / WEIGHTS).is_file():
        raise BackboneError(
            f"backbone.path must be a folder with {WEIGHTS} or with shards, got {str(folder)!r}, "
            "which has both: move away those that are not meant."
        )
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise BackboneError(f"{index} must have a weight_map that names the shards, got none.")
        names = sorted({str(name) for name in shards.values()})
    elif (folder / WEIGHTS).is_file():
        names = [WEIGHTS]
    else:
        pickled = sorted(file.name for file in folder.glob("pytorch_model*.bin"))
        hint = f", only pickled ones ({pickled[0]})" if pickled else ""
        raise BackboneError(
            f"backbone.path must be a folder with {WEIGHTS} or its shards, got {str(folder)!r}, "
            f"which has no safetensors weights{hint}: save the model again with save_pretrained."
        )
    for name in names:
        if name in ("", "..") or "/" in name or "\\" in name:
            raise BackboneError(
                f"every shard that {index} names must lie beside it, got {name!r}: download it again."
            )
        if not (folder / name).is_file():
            raise BackboneError(
                f"every shard that {index} names must exist, got no {name}: download it again."
            )
    return tuple(folder / name for name in names)


def has_tokenizer(folder: Path) -> bool:
    """Return whether a tokenizer lies in the folder."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def folder_hash(folder: Path, *, with_weights: bool = True) -> str:
    """Return the SHA-256 of configuration, tokenizer and weights, by their bytes.

    Every byte is read, so a change anywhere changes the hash; time stamps and places do not enter.
    The same unchanged file is read once per process (about a second per gigabyte).
    """
    names = ("config.json", *_TOKENIZER_FILES) if with_weights else _TOKENIZER_FILES
    named = [folder / name for name in names if (folder / name).is_file()]
    if with_weights:
        named.extend(weight_files(folder))
    digest = hashlib.sha256()
    for file in named:
        digest.update(f"{file.name} {files.sha256_of(file)}\n".encode())
    return digest.hexdigest()
