"""A peft LoRA checkpoint on a backbone: known by its hash, and merged into the weights when they are loaded.

    W' = W + s B A        peft's own merge, in the backbone's dtype; DoRA's and rsLoRA's likewise

What is trained or measured then stands on W': the checkpoint itself is read and not trained further.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.backbones import folders
from pedro_bench.errors import BackboneError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_FREE = frozenset(
    (
        *("peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path"),
        *("revision", "inference_mode", "runtime_config"),
        *("r", "lora_alpha", "lora_dropout", "fan_in_fan_out"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        # read only where another setting asks for what they belong to
        *("eva_config", "corda_config", "loftq_config", "lora_ga_config"),
        *("megatron_core", "qalora_group_size"),
    )
)
"""Settings of peft's LoRA that may have any value: it still adds s B A, with s = lora_alpha / r."""

_STARTS = (True, False, "gaussian", "orthogonal", "mica", "eva")
"""Values of `init_lora_weights` that leave the base weights as they are."""

_MERGED = frozenset({"use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "lora_bias"})
"""Settings that also change what is added, and that peft's own merge follows."""

_MERGED_STARTS = ("pissa", "olora")
"""Values of `init_lora_weights` that change the base weights; peft makes the same change when it loads."""


def odd_setting(config: Mapping[str, Any], *, merged: bool) -> str | None:
    """Return the first setting, as `name=value`, that makes a LoRA of peft more than may be read here.

    Absent and empty entries are peft's defaults. A setting that is not known here counts as one that acts.

    Args:
        config: The content of `adapter_config.json`.
        merged: Whether peft merges the checkpoint; otherwise it must add s B A to the base weights, no more.
    """
    free = _FREE | _MERGED if merged else _FREE
    usual: Mapping[str, tuple[object, ...]] = {
        "bias": ("none",),
        "init_lora_weights": (*_STARTS, *_MERGED_STARTS) if merged else _STARTS,
    }
    for name, value in config.items():
        word = value.lower() if isinstance(value, str) else value
        is_usual = word in usual[name] if name in usual else name in free
        if value and not is_usual:
            return f"{name}={value!r}"
    return None


def check_adapter(place: str) -> Path:
    """Return the folder of a LoRA checkpoint.

    Raises:
        BackboneError: If it is none, holds something else, or its weights are pickled.
    """
    folder = Path(place).expanduser()
    if not (folder / CONFIG).is_file():
        raise BackboneError(
            f"backbone.adapter must be a folder with {CONFIG}, as peft saves it, got {place!r}: give "
            "the folder of the checkpoint."
        )
    config = folders.read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise BackboneError(
            f"backbone.adapter must be a checkpoint of peft's type LORA, got {config.get('peft_type')!r} in "
            f"{place!r}: no other is added to weights here."
        )
    odd = odd_setting(config, merged=True)
    if odd is not None:
        raise BackboneError(
            f"backbone.adapter must hold low-rank updates alone, got {odd} in {place!r}: where peft can "
            "merge it (merge_and_unload), give the result as backbone.path."
        )
    if not (folder / WEIGHTS).is_file():
        raise BackboneError(
            f"backbone.adapter must have its weights in {WEIGHTS}, got none in {place!r}: save it again with "
            "save_pretrained; pickled weights are not read."
        )
    return folder


def adapter_hash(place: str) -> str:
    """Return the SHA-256 of a checkpoint's configuration and weights, by their bytes.

    Raises:
        BackboneError: As `check_adapter`.
    """
    folder = check_adapter(place)
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(f"{name} {files.sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


def merge_adapter(model: Any, place: str) -> None:
    """Merge a checkpoint into a model's weights; its modules and their names stay.

    Raises:
        BackboneError: If peft is not installed, or the checkpoint does not fit the model.
    """
    from importlib.util import find_spec

    import torch

    from pedro_bench.backbones.refusals import REFUSALS, in_one_line

    folder = check_adapter(place)
    if find_spec("peft") is None:
        raise BackboneError(
            "peft must be installed for backbone.adapter, got none: pip install 'pedro_bench[peft]'."
        )
    import peft
    from safetensors.torch import load_file

    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        with torch.random.fork_rng(devices=[]):  # peft draws a start, which the checkpoint replaces
            wrapped = peft.get_peft_model(model, config)
        found = peft.set_peft_model_state_dict(wrapped, load_file(folder / WEIGHTS))
        lacking = [name for name in found.missing_keys if "lora_" in name]
        if lacking or found.unexpected_keys:
            raise ValueError(f"a difference in {[*lacking, *found.unexpected_keys][0]}")
        wrapped.merge_and_unload(safe_merge=True)
    except REFUSALS as error:
        raise BackboneError(
            f"backbone.adapter must fit the backbone, got a refusal of {place!r} ({in_one_line(error)}): "
            "give the checkpoint's own base model as the backbone."
        ) from error
    for name in ("peft_config", "_hf_peft_config_loaded"):
        model.__dict__.pop(name, None)
