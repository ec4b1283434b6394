"""Proofs that a loaded model is what its files and its configuration say.

Transformers loads what fits and warns of the rest; here whatever did not fit is refused by name.

Legend: B examples, T tokens, N positions, D hidden, V vocabulary.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from pedro_bench.backbones import folders
from pedro_bench.backbones.checkpoint import CONSTANTS, Entry, entries
from pedro_bench.backbones.family import family_of
from pedro_bench.backbones.loaded import LoadedModel
from pedro_bench.errors import BackboneError, some_of
from pedro_bench.protocols.backbone import BackboneShape

if TYPE_CHECKING:
    from pedro_bench.backbones.pretrained import Pretrained

_PROBE_TOKENS = 3
_HEAD_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}

_MINUS_INFINITY = -1e4
"""Highest number that old checkpoints hold as `masked_bias`."""

_FREQUENCIES = "rotary_emb.inv_freq"
"""Buffer that old checkpoints hold for each layer, though the configuration decides it."""
_FREQUENCY_TOLERANCE = 1e-2
"""Relative; old checkpoints store the frequencies in 16 bits."""


def prove_weights(model: Any, info: Mapping[str, Any], folder: Path) -> None:
    """Require that the files hold every parameter, and that the model uses every tensor of the files.

    A second copy of a tensor is allowed where both are equal: of a tied embedding, or under a name
    with and without the decoder's prefix.

    Args:
        model: The loaded model.
        info: What `from_pretrained` says of the loading.
        folder: Where the files lie.

    Raises:
        BackboneError: If a tensor is missing, unused, of another size, or contradicts another.
    """
    family = family_of(model.config.model_type)
    found = {
        name: entry
        for name, entry in entries(folders.weight_files(folder)).items()
        if not any(re.search(pattern, name) for pattern in family.unused)
    }
    _refuse_sizes(model, info["mismatched_keys"], folder)
    missing = set(info["missing_keys"])
    unused = {
        name
        for name in set(info["unexpected_keys"]) & found.keys()
        if not _is_constant(name, found)
    }
    own = model.state_dict(keep_vars=True)
    of_parameter: dict[int, list[str]] = {}
    for name in found.keys() - unused:
        parameter = _parameter(own, name, f"{model.base_model_prefix}.")
        if parameter is not None:
            of_parameter.setdefault(id(parameter), []).append(name)
        elif _is_left_out(model, name) and not (
            _is_constant(name, found) or _is_same_rotary(model, _read(found, name))
        ):
            unused.add(name)
    kind = type(model).__name__
    if missing:
        raise BackboneError(
            f"the weights in {folder} must hold every parameter of {kind}, got none for "
            f"{some_of(missing)} ({len(missing)} missing)"
            + (f" and {some_of(unused)} that it has no place for" if unused else "")
            + ": the folder belongs to another kind of model, or config.json does not fit the files."
        )
    if unused:
        raise BackboneError(
            f"every tensor in {folder} must be used by {kind} as config.json describes it, got "
            f"{some_of(unused)} ({len(unused)} unused): correct config.json (a bias, say, is used "
            "with attention_bias or mlp_bias), or save the model again without them."
        )
    for names in of_parameter.values():
        _refuse_contradiction(found, sorted(names), folder)
    _refuse_untied(model, folder)


def prove_finite(model: Any, name: str) -> None:
    """Require weights without NaN and infinity.

    Raises:
        BackboneError: If a parameter has one; the message names it.
    """
    for path, parameter in model.named_parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        low, high = parameter.detach().aminmax()  # NaN is passed on
        if not (torch.isfinite(low) and torch.isfinite(high)):
            bad = int((~torch.isfinite(parameter)).sum())
            remedy = "download or save the weights again"
            if parameter.dtype == torch.float16:
                remedy += ", or set backbone.dtype=bfloat16 if they exceed float16's 65,504"
            raise BackboneError(
                f"every weight of backbone {name} must be a finite number, got {bad} NaN or "
                f"infinite of {parameter.numel()} in {path}: {remedy}."
            )


def prove_shape(settings: "Pretrained", measured: BackboneShape) -> None:
    """Compare the loaded modules with what the configuration promised.

    Raises:
        BackboneError: If they differ: parameter tables made from the configuration would be wrong.
    """
    mapping, source = settings.configuration()
    promised = family_of(str(mapping.get("model_type"))).read_shape(mapping, source)
    if promised is None:
        return  # the announced shape is itself measured
    if replace(promised, max_positions=measured.max_positions) != measured:
        raise BackboneError(
            f"the loaded weights must have the shape that {source} promises "
            f"({promised.num_parameters:,} parameters), got {measured.num_parameters:,}: correct "
            "backbone.architecture or backbone.path."
        )
    if promised != measured:
        raise BackboneError(
            f"the loaded model must have the {promised.max_positions} positions that {source} "
            f"promises, got {measured.max_positions}: correct max_position_embeddings there."
        )


@torch.no_grad()
def prove_head(loaded: LoadedModel) -> None:
    """Check on a few tokens that `head` gives the logits of the model's own forward.

    Raises:
        BackboneError: If it does not: the model does something to its logits that is not known
            here, or its numbers overflow.
    """
    ids_BT = torch.arange(_PROBE_TOKENS, device=loaded.device).remainder(loaded.shape.vocab_size)[
        None
    ]
    if loaded.kind == "encoder":
        _refuse_infinite(loaded, loaded.model(input_ids=ids_BT).last_hidden_state, "hidden states")
        return
    given: dict[str, Any] = {"input_ids": ids_BT, "use_cache": False}
    written = dict(given)
    if loaded.kind == "encoder_decoder":
        written |= {"encoder_hidden_states": loaded.stacks[0](input_ids=ids_BT)[0]}
        given |= {"decoder_input_ids": ids_BT}
    expected_TV = loaded.model(**given).logits[0].float()
    _refuse_infinite(loaded, expected_TV, "logits")
    hidden_TD = loaded.decoder(**written).last_hidden_state[0]
    error = (loaded.head(hidden_TD) - expected_TV).abs().max()
    bound = _HEAD_TOLERANCE[loaded.model.dtype] * max(1.0, float(expected_TV.abs().max()))
    if not float(error) <= bound:
        raise BackboneError(
            f"backbone {loaded.name} must compute its logits as the {loaded.family.name} family does, got a "
            f"difference of {float(error):.3g}: the architecture {loaded.shape.family!r} is not "
            "supported."
        )


def _refuse_infinite(loaded: LoadedModel, given: Tensor, what: str) -> None:
    if not given.isfinite().all():
        raise BackboneError(
            f"backbone {loaded.name} must give finite {what}, got NaN or infinite ones in "
            f"{str(loaded.model.dtype).removeprefix('torch.')}: its weights are finite, so set "
            "backbone.dtype=bfloat16 or float32, or download or save the weights again."
        )


def _refuse_sizes(model: Any, mismatched: Iterable[tuple[str, Any, Any]], folder: Path) -> None:
    """Refuse tensors of another size than the configuration gives, the vocabulary's by that name."""
    wrong = {name: (tuple(stored), tuple(own)) for name, stored, own in mismatched}
    if not wrong:
        return
    vocabulary = [
        name
        for name, module in model.named_modules()
        if module in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    for name, (stored, own) in sorted(wrong.items()):
        if name.rpartition(".")[0] in vocabulary and stored[1:] == own[1:]:
            raise BackboneError(
                f"vocab_size in {folder / 'config.json'} must be the number of rows of {name}, got "
                f"{own[0]} and {stored[0]} rows: correct config.json, or save model and "
                "configuration together after resize_token_embeddings."
            )
    name, (stored, own) = min(wrong.items())
    raise BackboneError(
        f"the weights in {folder} must have the sizes that config.json gives, got "
        f"{list(stored)} in place of {list(own)} for {name} ({len(wrong)} differ): the two belong "
        "to different models."
    )


def _parameter(own: Mapping[str, Tensor], name: str, prefix: str) -> Tensor | None:
    """Return which of a model's tensors one of a checkpoint is loaded into.

    Transformers takes names with and without the decoder's prefix (`model.`).
    """
    paths = (name, prefix + name, name.removeprefix(prefix))
    return next((own[path] for path in paths if path in own), None)


def _is_left_out(model: Any, name: str) -> bool:
    """Whether Transformers leaves a tensor out without saying so."""
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    return name.endswith((_FREQUENCIES, "position_ids")) or any(
        re.search(pattern, name) for pattern in patterns
    )


def _is_constant(name: str, found: Mapping[str, Entry]) -> bool:
    """Whether a tensor is one that old checkpoints hold though it is the same in all of a kind.

    These are a causal mask of ones, the number that stood for minus infinity, and positions from 0 on.
    """
    if not CONSTANTS.search(name):
        return False
    last = name.rpartition(".")[2]
    stored = _read(found, name)
    if last == "masked_bias":
        return stored.numel() == 1 and float(stored) <= _MINUS_INFINITY
    if last == "position_ids":
        return torch.equal(stored.flatten(), torch.arange(stored.numel()))
    is_square = stored.ndim == 4 and stored.shape[-1] == stored.shape[-2]
    return is_square and torch.equal(stored.float(), torch.ones_like(stored).float().tril())


def _is_same_rotary(model: Any, stored: Tensor) -> bool:
    """Whether stored rotary frequencies are those that the configuration gives."""
    own = [buffer for path, buffer in model.named_buffers() if path.endswith(_FREQUENCIES)]
    return any(
        stored.shape == one.shape
        and torch.allclose(stored.float(), one.float().cpu(), rtol=_FREQUENCY_TOLERANCE, atol=1e-7)
        for one in own
    )


def _refuse_contradiction(found: Mapping[str, Entry], names: list[str], folder: Path) -> None:
    """Refuse tensors for one parameter that differ: one of them would be dropped."""
    if len(names) == 1:
        return
    first = _read(found, names[0])
    for name in names[1:]:
        if not torch.equal(first, _read(found, name)):
            raise BackboneError(
                f"tensors for the same parameter must be equal, got {names[0]} and {name} in "
                f"{folder}, which differ: set tie_word_embeddings to false in config.json if "
                "embedding and head are meant to differ, else save the model again."
            )


def _refuse_untied(model: Any, folder: Path) -> None:
    """Refuse an embedding and a head that the configuration ties and the files do not."""
    config = model.config.get_text_config(decoder=True)
    head, embedding = (
        getattr(module, "weight", None)
        for module in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    is_tied = getattr(config, "tie_word_embeddings", False)
    if head is not None and is_tied and head is not embedding:
        raise BackboneError(
            f"embedding and head in {folder} must be equal where config.json has "
            "tie_word_embeddings, got two that differ: set it to false there, or save the model "
            "again."
        )


def _read(found: Mapping[str, Entry], name: str) -> Tensor:
    with safe_open(found[name].file, framework="pt") as stream:
        return stream.get_tensor(name)  # type: ignore[no-any-return]
