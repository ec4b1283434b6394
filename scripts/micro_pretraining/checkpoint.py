"""Checkpoints of pre-training: safetensors and JSON, written beside and renamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq", "momentum")


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader never sees half of it."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def save(
    folder: Path,
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    state: dict[str, Any],
) -> None:
    """Save weights, moments and the run's state; the checkpoint before is replaced at the end."""
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    names = {id(p): name for name, p in model.named_parameters()}
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, moments in optimizer.state.items():
            for key, moment in moments.items():
                tensors[f"{key}.{names[id(parameter)]}"] = moment.detach().contiguous()
    save_file(tensors, beside / "state.safetensors")
    write_json(beside / "state.json", state)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    beside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def last_step(folder: Path) -> int:
    """Read how far the newest checkpoint got; 0 where there is none."""
    return int(_state(folder)["step"]) if _restored(folder) else 0


def _restored(folder: Path) -> bool:
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.replace(folder)
    return folder.exists()


def _state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state


def load(
    folder: Path,
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    *,
    new: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Load the newest checkpoint into model and optimiser.

    Args:
        folder: The checkpoint's folder.
        model: The model; its parameters are overwritten.
        optimizers: Their moments are overwritten.
        new: Beginnings of the names of parameters that the checkpoint may lack; they stay.

    Returns:
        The run's state, or None where there is no checkpoint.
    """
    if not _restored(folder):
        return None
    tensors = load_file(folder / "state.safetensors")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f"weight.{name}" in tensors or not name.startswith(tuple(new)):
                parameter.copy_(tensors[f"weight.{name}"])
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{names[id(parameter)]}"].to(
                        "cpu" if key == "step" else parameter.device
                    )
                    for key in _MOMENTS
                    if f"{key}.{names[id(parameter)]}" in tensors
                }
    return _state(folder)
