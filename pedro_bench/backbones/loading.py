"""Load a model with its tokenizer, and prove that it is what was announced.

Padding token: a tokenizer without one pads with its unknown token, or else with its end-of-sequence
token; attention masks and labels make padding harmless either way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from pedro_bench.backbones import adapters, folders
from pedro_bench.backbones.family import family_of
from pedro_bench.backbones.loaded import LoadedModel, measure_shape, text_config
from pedro_bench.backbones.proofs import prove_finite, prove_head, prove_shape, prove_weights
from pedro_bench.backbones.quantising import quantise
from pedro_bench.backbones.refusals import REFUSALS, in_one_line, quiet, unsuitable
from pedro_bench.errors import BackboneError
from pedro_bench.protocols.backbone import BackboneShape

if TYPE_CHECKING:
    from pedro_bench.backbones.pretrained import Pretrained


def load_folder(settings: "Pretrained", folder: Path, revision: str, device: str) -> LoadedModel:
    """Load a checked folder.

    Raises:
        BackboneError: If Transformers cannot build a model from it, weights are
            missing, or the model is not of a family that works.
    """
    dtype = _dtype(settings, device)
    family = family_of(str(folders.read_config(folder).get("model_type")))
    model_class, options = family.model_class()
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                folder,
                **options,
                dtype=dtype,
                attn_implementation=settings.attn_implementation,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except REFUSALS as error:
        raise unsuitable(str(folder), error) from error
    prove_weights(model, info, folder)
    tokenizer_folder = settings.tokenizer_folder() or folder
    return _finish(settings, model, tokenizer_folder, revision, device, folder)


def build_random(
    settings: "Pretrained", mapping: Mapping[str, Any], source: str, device: str
) -> LoadedModel:
    """Build the true shape with seeded random weights, directly on the device.

    Raises:
        BackboneError: If the mapping describes no model of a family that works.
    """
    config = _config(mapping, source)
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.device(device), quiet():
            torch.manual_seed(settings.random_seed)
            model_class, options = family_of(config.model_type).model_class()
            model = model_class.from_config(
                config,
                **options,
                dtype=_dtype(settings, device),
                attn_implementation=settings.attn_implementation,
            )
    except REFUSALS as error:
        raise unsuitable(source, error) from error
    folder = settings.tokenizer_folder()
    assert folder is not None  # random weights always name one, or raise
    return _finish(settings, model, folder, settings.identity(), device)


def measure_config(mapping: Mapping[str, Any], source: str) -> BackboneShape:
    """Measure the sizes of an architecture by building it on the meta device, without memory.

    Raises:
        BackboneError: If the mapping describes no model of a family that works.
    """
    config = _config(mapping, source)
    try:
        with torch.device("meta"), quiet():
            model_class, options = family_of(config.model_type).model_class()
            model = model_class.from_config(config, **options)
    except REFUSALS as error:
        raise unsuitable(source, error) from error
    return measure_shape(model, source)


def _config(mapping: Mapping[str, Any], source: str) -> Any:
    """Build Transformers' configuration object from a mapping, without remote code."""
    entries = {name: value for name, value in mapping.items() if name != "model_type"}
    entries.pop("auto_map", None)
    try:
        return transformers.AutoConfig.for_model(str(mapping.get("model_type")), **entries)
    except REFUSALS as error:
        raise unsuitable(source, error) from error


def _finish(
    settings: "Pretrained",
    model: Any,
    tokenizer_folder: Path,
    revision: str,
    device: str,
    folder: Path | None = None,
) -> LoadedModel:
    """Merge an adapter, freeze the model, add the tokenizer, and prove shape and head."""
    if settings.adapter is not None:
        adapters.merge_adapter(model, settings.adapter)
    if settings.quantization is None:  # else the layers go to the device one by one
        model = _placed(model, settings, device)
    model.eval()
    family = family_of(model.config.model_type)
    family.check(text_config(model), settings.attn_implementation, settings.name)
    prove_finite(model, settings.name)
    model.requires_grad_(False)
    model.config.use_cache = True
    shape = measure_shape(model, settings.name)
    prove_shape(settings, shape)
    if settings.quantization is not None:
        quantise(model, settings.quantization, device)
        model = _placed(model, settings, device)
    tokenizer = load_tokenizer(tokenizer_folder, shape)
    loaded = LoadedModel(settings.name, model, tokenizer, shape, revision, folder)
    prove_head(loaded)
    return loaded


def _placed(model: Any, settings: "Pretrained", device: str) -> Any:
    """Return the model on the device.

    Raises:
        BackboneError: If it does not fit.
    """
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise unsuitable(settings.name, error) from error


def load_tokenizer(folder: Path, shape: BackboneShape) -> Any:
    """Load a tokenizer; one without a padding token pads with its unknown or end token.

    Raises:
        BackboneError: If it cannot be loaded, has no end token or does not fit the shape.
    """
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except REFUSALS as error:
        raise BackboneError(
            f"{folder} must hold a tokenizer that Transformers can load, got: "
            f"{in_one_line(error)}; set backbone.tokenizer_path=<folder>."
        ) from error
    if family_of(shape.family).kind != "encoder" and tokenizer.eos_token_id is None:
        raise BackboneError(
            f"the tokenizer in {folder} must have an end-of-sequence token, got none: every "
            "answer ends with it."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokens = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if tokens > shape.vocab_size:
        raise BackboneError(
            f"the tokenizer in {folder} must have at most the backbone's {shape.vocab_size} "
            f"tokens, its vocab_size, got {tokens}: it belongs to another model, or tokens were added "
            "to it and the model's embedding was not enlarged."
        )
    return tokenizer


def _dtype(settings: "Pretrained", device: str) -> torch.dtype:
    default = "float32" if torch.device(device).type == "cpu" else "bfloat16"
    chosen: torch.dtype = getattr(torch, settings.dtype or default)
    return chosen
