"""Adapt a Hugging Face model that is in memory already: for training loops that are not this package's."""

from typing import TYPE_CHECKING, Any

import transformers

from pedro_bench.backbones.family import family_of
from pedro_bench.backbones.loaded import LoadedModel, measure_shape, text_config
from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel, require_free
from pedro_bench.protocols.method import Method

if TYPE_CHECKING:
    from torch import nn


def adopt(model: "nn.Module", tokenizer: Any = None) -> LoadedModel:
    """Return a model in memory as a backbone; freeze it and put it into evaluation mode.

    The model is used as it is, on its device and in its dtype; nothing is copied. No file stands behind
    it, so the backbone's `revision` is the empty string.

    Args:
        model: A model of Transformers whose family is listed in docs/backbones.md.
        tokenizer: Its tokenizer. Encoders, T5 and this package's own decoding need it; a decoder that is
            called directly does not.

    Raises:
        ConfigError: If it is no model of Transformers, or holds adapters of peft.
        BackboneError: If the model is of no family that works, or computes attention in a way that its
            family refuses.
    """
    given: Any = model
    if not isinstance(given, transformers.PreTrainedModel):
        raise ConfigError(
            "model must be a model of Transformers, such as AutoModelForCausalLM.from_pretrained gives, "
            f"got {type(given).__name__}."
        )
    name = str(given.config.name_or_path or given.config.model_type)
    config = text_config(given)
    _refuse_wrapped(given)
    family_of(given.config.model_type).check(config, config._attn_implementation or "eager", name)
    shape = measure_shape(given, name)
    given.requires_grad_(False)
    given.eval()
    return LoadedModel(name, given, tokenizer, shape, revision="")


def _refuse_wrapped(model: "nn.Module") -> None:
    """Refuse a model in which peft has put adapters: projections are wrapped, or have hooks already.

    Raises:
        ConfigError: If it holds some.
    """
    for path, module in model.named_modules():
        if hasattr(module, "adapter_layer_names"):  # of every tuner layer of peft
            raise ConfigError(
                f"model must be without adapters of peft, got {type(module).__name__} in {path!r}: call "
                "unload() or merge_and_unload() on the model that peft returned, and give what it returns."
            )


def attach(method: Method, model: "nn.Module", tokenizer: Any = None) -> AdaptedModel:
    """Attach a method to a model of Transformers that is in memory; the model is frozen in place.

    `adapted.adapter` holds the trainable parameters (float32). Calls of the model, `generate` included, go
    through `with adapted.context(prompt_mask).active():`, where the mask (B, T) is True at prompt tokens and
    False at padding and answers. `adapted.remove()` detaches the method and restores every weight; the
    model stays frozen. New parameters are drawn from PyTorch's global generator: seed it first.

    Args:
        method: A method's dataclass, such as `pedro_bench.methods.pedro.Pedro`.
        model: A model of Transformers whose family is listed in docs/backbones.md. It carries one method at
            a time.
        tokenizer: The model's tokenizer; see `adopt`.

    Raises:
        ConfigError: If `method` is no method, or `model` no model of Transformers or one with adapters of
            peft.
        BackboneError: If the model is of no family that works.
        InjectionError: If the model already carries a method, or lacks what this one needs.
    """
    given: Any = method
    if not isinstance(given, Method):
        raise ConfigError(
            "method must be a method's dataclass, such as pedro_bench.methods.pedro.Pedro(...), got "
            f"{type(given).__name__}."
        )
    require_free(model, given.name)  # before it is frozen: a method may train its weights
    return AdaptedModel(adopt(model, tokenizer), method)
