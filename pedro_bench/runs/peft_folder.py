"""An adapter in peft's format as a tenant of a bank: plain LoRA, and PEDRO as `integrations.peft` saves it.

The files are read here, without peft. They do not say which weights they were trained on: the base model is
the caller's word, and shapes alone are compared.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pedro_bench.backbones.adapters import CONFIG, WEIGHTS, odd_setting
from pedro_bench.errors import ConfigError, RecordError
from pedro_bench.methods.lora import Lora
from pedro_bench.methods.pedro import Pedro
from pedro_bench.protocols.backbone import LINEAR_ROLES, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.serving import TenantAdapter

_PEDRO = "base_model.model.method_layer.pedro_adapter."


def is_peft_folder(path: Path) -> bool:
    """Whether a path is a folder that peft saved."""
    return (path / CONFIG).is_file()


def peft_adapter(
    path: str | Path, backbone: LoadedBackbone, like: Method | None = None
) -> TenantAdapter:
    """Read an adapter that peft saved, for `AdapterBank.add`.

    Args:
        path: The folder.
        backbone: What it was trained on.
        like: The bank's method: where the same roles are adapted, they have its order.

    Raises:
        RecordError: If the folder has no safetensors weights, or cannot be read.
        ConfigError: If it holds another type, or a LoRA that this package's is not.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(path)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise RecordError(
            f"an adapter of peft must be a folder with {CONFIG} and {WEIGHTS}, got {str(folder)!r}: "
            f"{type(error).__name__}."
        ) from error
    kind = str(config.get("peft_type")).partition(" ")[0]
    method: Method
    if kind == "LORA":
        method, own = _lora(config, tensors, backbone, folder)
    elif kind == "PEDRO":
        method = Pedro(
            name="pedro",
            label="PEDRO",
            roles=tuple(config["target_modules"]),
            **{name: config[name] for name in ("r", "pooling", "activation", "reads")},
        )
        own = {name.removeprefix(_PEDRO): tensor for name, tensor in tensors.items()}
    else:
        raise ConfigError(
            f"an adapter of peft must be of type LORA or PEDRO to be served, got {kind!r} in {str(folder)!r}."
        )
    return TenantAdapter(_as(method, like), backbone.revision, own)


def _lora(
    config: Mapping[str, Any], tensors: Mapping[str, Any], backbone: LoadedBackbone, folder: Path
) -> tuple[Lora, dict[str, Any]]:
    """Return the method and the tensors by this package's names; a tensor elsewhere keeps peft's name."""
    odd = odd_setting(config, merged=False)
    if odd is not None:
        remedy = (
            "use it with peft"
            if odd_setting(config, merged=True)
            else "merge it into the backbone with backbone.adapter"
        )
        raise ConfigError(
            f"a LoRA of peft must be a plain one to be served, got {odd} in {str(folder)!r}: {remedy}."
        )
    names = {
        f"base_model.model.{site.path}.{leaf}.weight": f"layers.{site.layer}.{role}.{leaf}"
        for role in LINEAR_ROLES
        for site in backbone.sites(role)
        if site.columns is None
        for leaf in ("lora_A", "lora_B")
    }
    own = {names.get(name, name): tensor for name, tensor in tensors.items()}
    adapted = {name.split(".")[2] for name in own if name.startswith("layers.")}
    method = Lora(
        name="lora",
        label="LoRA",
        r=config["r"],
        alpha=config["lora_alpha"],
        dropout=config.get("lora_dropout", 0.0),
        roles=tuple(role for role in LINEAR_ROLES if role in adapted),
    )
    return method, own


def _as(method: Method, like: Method | None) -> Method:
    """Return the method with a LoRA's roles in the order of another LoRA's, where they are the same."""
    if isinstance(method, Lora) and isinstance(like, Lora) and set(like.roles) == set(method.roles):
        return replace(method, roles=like.roles)
    return method
