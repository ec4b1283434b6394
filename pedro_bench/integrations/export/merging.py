"""A trained adapter in the backbone's own weights.

    W' = f(I)^T - f(0),   b' = f(0)      f: a projection with all that the method hangs on it, I a unit matrix

Whatever the method is, what it hangs on a projection is asked for, not derived again: so every method that
says `Method.is_affine` can be merged. One that trains the backbone's own weights leaves nothing to merge.

Legend: I in-features, O out-features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LINEAR_ROLES, LoadedBackbone, Site

_BIAS_SWITCHES = ("attention_bias", "mlp_bias")
"""Entries of a `config.json` that give projections without biases some."""


def merge(adapted: AdaptedModel) -> None:
    """Put what was trained into the backbone's weights, and take the method out.

    The backbone is changed for good; `adapted` is of no further use.

    Raises:
        ConfigError: If weights cannot hold what the method does, or have no bias for its vectors.
    """
    backbone, method = adapted.backbone, adapted.method
    trained = {
        path: parameter.detach().clone()
        for path, parameter in backbone.model.named_parameters()
        if parameter.requires_grad
    }
    if not (method.is_affine or trained):
        raise ConfigError(
            f"format must not be merged for method {method.name!r}, got merged: weights hold only what "
            "changes single projections, and in the same way for every prompt; use format=native, or "
            "format=peft where peft has the method."
        )
    changed = _changed(backbone) if method.is_affine else {}
    adapted.remove()
    parameters = dict(backbone.model.named_parameters())
    with torch.no_grad():
        for path, tensor in trained.items():
            parameters[path].copy_(tensor)
        _give_biases(backbone, [path for path, (_, bias) in changed.items() if bias is not None])
        for site in _sites(backbone):
            if site.path in changed:
                weight_OI, bias_O = changed[site.path]
                module: Any = site.module
                module.weight.copy_(weight_OI.mT if site.is_transposed else weight_OI)
                if bias_O is not None:
                    module.bias.copy_(bias_O)


def _sites(backbone: LoadedBackbone) -> list[Site]:
    """Return a site of every projection once, also where several roles share it."""
    by_path = {site.path: site for role in LINEAR_ROLES for site in backbone.sites(role)}
    return list(by_path.values())


def _changed(backbone: LoadedBackbone) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return path -> weights (O, I) and bias (O,) of every projection that carries hooks; None: no bias."""
    found = {}
    for site in _sites(backbone):
        module = site.module
        if not (module._forward_hooks or module._forward_pre_hooks):
            continue
        if site.is_quantised:
            raise ConfigError(
                "backbone.quantization must be null for format=merged, got quantised weights in "
                f"{site.path!r}, where rounding would lose the adapter: use format=peft or format=native."
            )
        found[site.path] = _affine(site)
    return found


def _affine(site: Site) -> tuple[Tensor, Tensor | None]:
    """Return weights (O, I) and bias (O,), None where there is none, of a projection with its hooks."""
    module: Any = site.module
    dtype, device = module.weight.dtype, module.weight.device
    unit_II = torch.eye(site.inputs, device=device)
    module.float()
    try:
        # Without gradients blocks work in a prompt's context, and in place.
        with torch.enable_grad():
            bias_O = module(unit_II.new_zeros(1, site.inputs)).detach()[0]
            weight_OI = (module(unit_II).detach() - bias_O).mT
    finally:
        module.to(dtype)
    has_bias = module.bias is not None or bool(bias_O.any())
    return weight_OI.to(dtype), bias_O.to(dtype) if has_bias else None


def _give_biases(backbone: LoadedBackbone, paths: list[str]) -> None:
    """Give the projections at some paths a bias of zeros where they have none, as the configuration can say.

    Raises:
        ConfigError: If the architecture has no such bias.
    """
    model = backbone.model
    lacking = [path for path in paths if model.get_submodule(path).bias is None]
    if not lacking:
        return
    for switch in _BIAS_SWITCHES:
        if getattr(model.config, switch, None) is False:
            setattr(model.config, switch, True)
    with torch.device("meta"):
        possible = type(model)(model.config).state_dict()
    for path in lacking:
        if f"{path}.bias" not in possible:
            raise ConfigError(
                f"format must not be merged where a vector is added to a projection without a bias, got "
                f"{path!r} of {type(model).__name__}: use format=peft or format=native."
            )
    for path, module in model.named_modules():
        own: Any = module
        if (
            isinstance(own, nn.Linear)
            and own._parameters["bias"] is None
            and f"{path}.bias" in possible
        ):
            own.bias = nn.Parameter(own.weight.new_zeros(own.out_features), requires_grad=False)
