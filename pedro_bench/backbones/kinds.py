"""What a path means that is not a folder of whole weights: named as what it is, with the remedy."""

import json
from pathlib import Path

from pedro_bench.errors import BackboneError

_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_OWN_ADAPTERS = ("adapter.safetensors", "adapter/adapter.safetensors")


def is_file_name(path: str) -> bool:
    """Return whether a path ends as files of weights do, so that it cannot be a Hub id."""
    return path.lower().endswith(_FILES)


def refuse_other_kinds(folder: Path) -> None:
    """Refuse folders of GGUF files, single files, and folders that hold an adapter.

    Transformers adds a peft adapter that lies beside whole weights while it loads them, where peft
    is installed; the backbone's identity is that of the weights alone.

    Raises:
        BackboneError: If the path is one of these.
    """
    if folder.is_file():
        raise BackboneError(_file(folder))
    adapters = peft_files(folder)
    has_config = (folder / "config.json").is_file()
    has_weights = any(folder.glob("model*.safetensors*")) or any(folder.glob("pytorch_model*"))
    if adapters and has_config and has_weights:
        raise BackboneError(
            f"backbone.path must be a folder of whole weights alone, got {str(folder)!r}, where a "
            f"peft adapter lies beside them ({', '.join(adapters)}): merge it (merge_and_unload) "
            "and save the merged model, load the run that made it, or move the adapter's files "
            "away."
        )
    if adapters:
        base = _base_model(folder)
        raise BackboneError(
            f"backbone.path must be a folder of whole weights, got {str(folder)!r}, which holds a "
            f"peft adapter alone ({', '.join(adapters)}): give its base model{base}, and this "
            "folder as backbone.adapter if it is a LoRA checkpoint."
        )
    if not has_config and any((folder / name).is_file() for name in _OWN_ADAPTERS):
        raise BackboneError(
            f"backbone.path must be a folder of whole weights, got {str(folder)!r}, which holds the "
            "adapter of a run: load it with pedro_bench.runs.load, and give its backbone here."
        )
    quantised = sorted(file.name for file in folder.glob("*.gguf"))
    if quantised and not has_weights:
        raise BackboneError(_gguf(folder, quantised))


def peft_files(folder: Path) -> list[str]:
    """Return the names of the files of a peft adapter that lie in the folder itself.

    `adapter_config.json` alone makes Transformers look for an adapter; folders within are not looked
    at.
    """
    found = {*folder.glob("adapter_config.json"), *folder.glob("adapter_model*")}
    return sorted(file.name for file in found if file.is_file())


def _file(file: Path) -> str:
    """Say what to give for a single file."""
    return (
        f"backbone.path must be a folder with config.json and weights, got the file {str(file)!r}: "
        "give the folder it lies in."
    )


def _gguf(folder: Path, names: list[str]) -> str:
    """Say that a GGUF file is given by its own path."""
    return (
        f"backbone.path must be a GGUF file itself or a folder of safetensors weights, got "
        f"{str(folder)!r}, a folder of GGUF files: give backbone.path={folder / names[0]}"
        f"{', or another of them' if len(names) > 1 else ''}."
    )


def _base_model(folder: Path) -> str:
    """Return ` 'name'` of the base model that an adapter names, or nothing."""
    try:
        content = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        name = content["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" {str(name)!r}" if name else ""
