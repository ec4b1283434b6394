"""A trained adapter as one of peft's, built by peft itself on the same backbone and filled.

    LoRA, DoRA    LORA       plain (IA)^3    IA3     P-tuning v2, prefix tuning    PREFIX_TUNING
    AdaLoRA       ADALORA    RoAd            ROAD    prompt tuning                 PROMPT_TUNING
    PEDRO, RED, LPT, factored (IA)^3, BitFit, infix tuning    types of `pedro_bench.integrations.peft`

What follows from the tensors and is not needed to use them stays behind: the network that made a prefix, and
AdaLoRA's allocator.

Legend: P virtual tokens, G pairs of outputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from pedro_bench.errors import ConfigError
from pedro_bench.methods.adalora import AdaLora
from pedro_bench.methods.bitfit import BitFit
from pedro_bench.methods.dora import Dora
from pedro_bench.methods.ia3 import Ia3
from pedro_bench.methods.lora import Lora
from pedro_bench.methods.lpt import LatePromptTuning
from pedro_bench.methods.pedro import Pedro
from pedro_bench.methods.prefix_tuning import PrefixTuning
from pedro_bench.methods.prompt_tuning import PromptTuning
from pedro_bench.methods.red import Red
from pedro_bench.methods.road import Road
from pedro_bench.protocols.backbone import LoadedBackbone, Site
from pedro_bench.protocols.method import Method

ADAPTER = "default"
"""Name of the adapter while it is in memory; peft's own, and no part of what is saved."""

_IA3_ROLES = ("key", "value", "ffn_down")


@singledispatch
def config_of(method: Method, backbone: LoadedBackbone) -> Any:
    """Return peft's configuration of a method on a backbone.

    Raises:
        ConfigError: If no type of peft computes what the method does.
    """
    raise ConfigError(
        f"peft must have a type that computes what method {method.name!r} does for format=peft and "
        "format=remote_code, got none: use format=native, or format=merged where weights can hold it."
    )


@config_of.register
def _(method: Lora, backbone: LoadedBackbone) -> Any:
    return _low_rank(method, backbone)


@config_of.register
def _(method: Dora, backbone: LoadedBackbone) -> Any:
    return _low_rank(method, backbone, use_dora=True)


def _low_rank(method: Any, backbone: LoadedBackbone, **further: Any) -> Any:
    import peft

    return peft.LoraConfig(
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=modules_of(backbone, method.roles),
        fan_in_fan_out=_is_transposed(backbone, method.roles),
        task_type="CAUSAL_LM",
        **further,
    )


@config_of.register
def _(method: AdaLora, backbone: LoadedBackbone) -> Any:
    import peft

    # peft asks for a schedule, which no longer acts on an adapter that is trained: the shortest one.
    return peft.AdaLoraConfig(
        init_r=2 * method.r if method.init_r is None else method.init_r,
        target_r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        beta1=method.beta1,
        beta2=method.beta2,
        orth_reg_weight=method.orth_reg_weight,
        deltaT=method.deltaT,
        tinit=0,
        tfinal=0,
        total_step=1,
        target_modules=modules_of(backbone, method.roles),
        fan_in_fan_out=_is_transposed(backbone, method.roles),
        task_type="CAUSAL_LM",
    )


@config_of.register
def _(method: Ia3, backbone: LoadedBackbone) -> Any:
    if method.r is not None:
        return _own_type(method)
    import peft

    return peft.IA3Config(
        target_modules=modules_of(backbone, _IA3_ROLES),
        feedforward_modules=modules_of(backbone, ("ffn_down",)),
        fan_in_fan_out=_is_transposed(backbone, _IA3_ROLES),
        task_type="CAUSAL_LM",
    )


@config_of.register
def _(method: Road, backbone: LoadedBackbone) -> Any:
    import peft

    return peft.RoadConfig(
        variant=method.variant,  # type: ignore[arg-type]  # one of peft's own three words
        group_size=method.group_size,
        target_modules=modules_of(backbone, method.roles),
        task_type="CAUSAL_LM",
    )


@config_of.register
def _(method: PrefixTuning, backbone: LoadedBackbone) -> Any:
    import peft

    return peft.PrefixTuningConfig(
        num_virtual_tokens=method.num_virtual_tokens, task_type="CAUSAL_LM"
    )


@config_of.register
def _(method: PromptTuning, backbone: LoadedBackbone) -> Any:
    if method.place != "before_prompt":
        return _own_type(method)
    import peft

    return peft.PromptTuningConfig(
        num_virtual_tokens=method.num_virtual_tokens, task_type="CAUSAL_LM"
    )


@config_of.register(Pedro)
@config_of.register(Red)
@config_of.register(BitFit)
@config_of.register(LatePromptTuning)
def _(method: Method, backbone: LoadedBackbone) -> Any:
    return _own_type(method)


def _own_type(method: Method) -> Any:
    from pedro_bench.integrations.peft import MethodConfig

    return MethodConfig.of(method, task_type="CAUSAL_LM")


def modules_of(backbone: LoadedBackbone, roles: Sequence[str]) -> list[str]:
    """Return the shortest names by which peft finds the projections of some roles, and no others.

    Raises:
        ConfigError: If a role is a part of a fused projection, which peft adapts as a whole.
    """
    paths = [path for path, _ in backbone.model.named_modules()]
    names = []
    for role in roles:
        sites = backbone.sites(role)
        for site in sites:
            if site.columns is not None:
                raise ConfigError(
                    "format=peft and format=remote_code must have projections of one role each, got the "
                    f"role {role!r} as a part of {site.path!r}, which peft adapts as a whole: use "
                    "format=merged or format=native."
                )
        names += _names_of([site.path for site in sites], paths)
    return names


def _is_transposed(backbone: LoadedBackbone, roles: Sequence[str]) -> bool:
    """Whether the projections keep their weights as (in, out), which peft asks for."""
    return any(site.is_transposed for role in roles for site in backbone.sites(role))


def _names_of(wanted: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return one ending that the wanted paths share and no other path has, or all of them in full."""
    if not wanted:
        return []
    parts = wanted[0].split(".")
    for size in range(1, len(parts)):
        ending = ".".join(parts[-size:])
        meant = [path for path in paths if path == ending or path.endswith(f".{ending}")]
        if sorted(meant) == sorted(wanted):
            return [ending]
    return list(wanted)


def fill(model: Any, method: Method, adapter: nn.Module, sites: Mapping[str, Site]) -> None:
    """Copy a trained adapter into what `get_peft_model` made for its method.

    Args:
        model: peft's model, with the adapter ADAPTER.
        method: The method.
        adapter: Its tensors.
        sites: `layers.<layer>.<role>` -> the projection.

    Raises:
        ConfigError: If peft's adapter does not have the same tensors.
    """
    own = {name: tensor.detach() for name, tensor in adapter.state_dict().items()}
    theirs = dict(_parameters(model, method, sites))
    if isinstance(method, PrefixTuning):
        prefix: Any = adapter.get_submodule("prefix")
        own = {"prefix.embedding": prefix.transform(prefix.embedding).detach()}
    if isinstance(method, Road):
        own = {name: _group_by_group(tensor, method.group_size) for name, tensor in own.items()}
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    filled = sum(parameter.numel() for parameter in theirs.values())
    if set(own) != set(theirs) or trained != filled:
        raise ConfigError(
            f"peft must have the tensors of method {method.name!r} for format=peft, got others "
            f"({len(theirs)} for {len(own)}): use a version of peft that docs/integrations.md names."
        )
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(own[name].view(parameter.shape))


_LEAVES: Mapping[type[Method], Mapping[str, str]] = {
    Lora: {"lora_A": "lora_A", "lora_B": "lora_B"},
    Dora: {"lora_A": "lora_A", "lora_B": "lora_B", "magnitude": "lora_magnitude_vector"},
    AdaLora: {"lora_A": "lora_A", "lora_B": "lora_B", "lora_E": "lora_E"},
    Ia3: {"vector": "ia3_l"},
    Road: {"theta": "road_theta", "alpha": "road_alpha"},
}
"""Method -> tensor's name here -> the attribute of peft's layer that holds it."""


def _parameters(
    model: Any, method: Method, sites: Mapping[str, Site]
) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the tensors of peft's adapter by their names in this package."""
    layer = getattr(model.base_model, "layer", None)
    if layer is not None and hasattr(layer, "adapters"):  # a type of this package
        yield from layer.adapters[ADAPTER].named_parameters()
        return
    if hasattr(model, "prompt_encoder"):
        place = "prefix" if isinstance(method, PrefixTuning) else "prompt"
        yield f"{place}.embedding", model.prompt_encoder[ADAPTER].embedding.weight
        return
    adapted = method.roles if hasattr(method, "roles") else _IA3_ROLES
    for name, site in sites.items():
        if site.role not in adapted:
            continue
        module = model.base_model.model.get_submodule(site.path)
        for leaf, attribute in _LEAVES[type(method)].items():
            held = getattr(module, attribute)[ADAPTER]
            yield f"{name}.{leaf}", getattr(held, "weight", held)


def _group_by_group(tensor: Tensor, group_size: int) -> Tensor:
    """Return RoAd's tensors as peft lays them out: of road_4 both halves of a group side by side."""
    if tensor.ndim == 1:
        return tensor
    grouped: Tensor = tensor.unflatten(1, (-1, group_size))  # type: ignore[no-untyped-call]
    return grouped.transpose(0, 1).reshape(-1)
