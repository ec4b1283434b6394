"""Writes exports: peft's format, the merged model, or this package's own folder.

    peft          adapter_config.json, adapter_model.safetensors    peft loads it
    remote_code   config.json with `auto_map`, adapter/, tokenizer  Transformers loads it, and its base model
    merged        config.json, model.safetensors, tokenizer         Transformers loads it
    native        adapter/                                          pedro_bench.load loads it

An export is made whole beside its folder and then renamed; before, all but native, which holds the trained
tensors themselves, are proved to give the trained model's logits. All need the method's class.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pedro_bench.analysis.run import Run
from pedro_bench.backbones.refusals import quiet
from pedro_bench.errors import ConfigError, RecordError
from pedro_bench.integrations.export import merging, peft_format, proof
from pedro_bench.integrations.export.card import card
from pedro_bench.integrations.export.request import Base, Request, base_of
from pedro_bench.integrations.export.seeds import seeds_of, shown_config
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LINEAR_ROLES
from pedro_bench.protocols.method import Method
from pedro_bench.runs.saved import load_backbone, read_saved, trained_method
from pedro_bench.training.saved_folder import Saved, write_folder

_IN_PEFT = ("peft", "remote_code")
"""Formats in which peft puts the adapter on a base model that others have."""


def export(request: Request, command_of: Callable[[Sequence[Run]], str]) -> Path:
    """Write an export with its model card and return its folder.

    Args:
        request: What to export.
        command_of: Returns the command that makes some runs anew, for the card.

    Raises:
        RecordError: If the run is not finished, its adapter is gone, or the folder cannot be written.
        BackboneError: If the backbone is not there, or not what the run was trained on.
        ConfigError: If the run cannot have that format, or its method's class is not there.
    """
    saved = read_saved(request.run)
    method = trained_method(saved)
    config = saved.state["config"]
    base = base_of(config["backbone"], request.base)
    if request.format in _IN_PEFT:
        _check_base(request, base, config["backbone"])
    out = Path(request.out)
    place = out.resolve()  # where `out` is a link to a folder
    partial = place.with_name(f".partial-{place.name}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        is_own_type = False
        if request.format == "native":
            write_folder(partial / "adapter", _without_places(saved))
        else:
            is_own_type = _write_model(request, saved, method, base, partial)
        text = _card(request, saved, base, command_of, is_own_type=is_own_type)
        (partial / "README.md").write_text(text, encoding="utf-8")
        if place.exists():
            place.rmdir()
        partial.replace(place)
    except OSError as error:
        raise RecordError(
            f"out must be a folder that can be written, got {request.out!r}: {error.strerror or error}."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _check_base(request: Request, base: Base, backbone: Mapping[str, Any]) -> None:
    """Require a base model that peft can put the adapter on.

    Raises:
        ConfigError: If nobody else has it, or nothing holds its weights.
    """
    if request.push is not None and not base.is_on_hub:
        given = base.place or backbone.get("path")
        raise ConfigError(
            f"base must be a Hub id where an adapter is pushed, got {given!r}, which nobody else has: set "
            "base=OWNER/NAME."
        )
    for key in ("adapter", "random_weights"):
        if backbone.get(key) and request.base is None:
            raise ConfigError(
                f"base must name a model with the backbone's weights for format={request.format}, got none "
                f"where backbone.{key}={backbone[key]} makes them: export format=merged, or give base=."
            )


def _card(
    request: Request,
    saved: Saved,
    base: Base,
    command_of: Callable[[Sequence[Run]], str],
    *,
    is_own_type: bool,
) -> str:
    runs = seeds_of(request.run, saved.state["config"])
    for run in runs:
        run.config = shown_config(run.config)
    return card(
        request,
        saved.state,
        base,
        runs,
        seed=int(saved.header["seed"]),
        command=command_of(runs) if runs else None,
        is_own_type=is_own_type,
    )


def _without_places(saved: Saved) -> Saved:
    """Return a saved adapter whose configuration names no place of this machine.

    A local backbone keeps its folder's name alone: whoever loads the run gives its place.
    """
    return replace(saved, state={**saved.state, "config": shown_config(saved.state["config"])})


def _write_model(request: Request, saved: Saved, method: Method, base: Base, folder: Path) -> bool:
    """Write peft's format or the merged model, once it is proved to give the trained model's logits.

    Returns:
        Whether peft needs this package to load it.
    """
    backbone = load_backbone(saved, request.device, request.backbone_path)
    if backbone.kind != "decoder":
        raise ConfigError(
            f"format must be native for a run on {backbone.name!r}, got {request.format!r}: an encoder's "
            "head and the inputs of an encoder-decoder are this package's own."
        )
    adapted = AdaptedModel(backbone, method)
    adapted.load_adapter_state(saved.tensors["adapter"])
    adapted.eval()
    batch = proof.tokens_for(backbone)
    trained_NV = proof.trained_logits(adapted, batch)
    if request.format == "merged":
        merging.merge(adapted)
        model = backbone.model
    else:
        model = _in_peft(adapted, base)
    exported_NV = proof.exported_logits(model.eval(), batch)
    proof.require_equal(exported_NV, trained_NV, backbone.model.dtype, request.format, method.name)
    if request.format == "merged":
        with quiet():
            model.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
        return False
    if request.format == "remote_code":
        from pedro_bench.integrations.peft import remote_code

        remote_code.save(model, backbone.tokenizer, folder)
        return True
    model.save_pretrained(folder, save_embedding_layers=False)
    return type(model.active_peft_config).__module__.startswith("pedro_bench.")


def _in_peft(adapted: AdaptedModel, base: Base) -> Any:
    """Return peft's model with the trained adapter, on the backbone that the method is taken out of.

    Raises:
        ConfigError: If peft is not installed, or has no type that computes what the method does.
    """
    if find_spec("peft") is None:
        raise ConfigError(
            "peft must be installed for what peft loads, got none: pip install 'pedro_bench[peft]'."
        )
    import peft

    backbone, method = adapted.backbone, adapted.method
    adapted.remove()
    config = peft_format.config_of(method, backbone)
    sites = {
        f"layers.{site.layer}.{role}": site
        for role in LINEAR_ROLES
        for site in backbone.sites(role)
    }
    model = peft.get_peft_model(backbone.model, config, adapter_name=peft_format.ADAPTER)
    peft_format.fill(model, method, adapted.adapter, sites)
    made = model.peft_config[peft_format.ADAPTER]  # it names the model in memory until here
    made.base_model_name_or_path = base.place or str(Path(backbone.model.name_or_path).resolve())
    made.revision = base.revision
    return model
